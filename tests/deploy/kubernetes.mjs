// Checks manifests from standard input. Prints each document as a line of JSON, or says what is wrong.
//
// By the schemas that Kubernetes publishes (its OpenAPI, in npm's kubernetes-models), and more strictly than these: as
// the API server does when it is asked to (fieldValidation=Strict), fields that they don't know are refused.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

import yaml from "js-yaml";

const require = createRequire(import.meta.url);

// The schemas are compiled by the Ajv that kubernetes-models has.
const Ajv = createRequire(require.resolve("@kubernetes-models/validate"))("ajv").default;
const { addSchema } = Ajv.prototype;
Ajv.prototype.addSchema = function (schema, id) {
  return addSchema.call(this, closed(schema), id);
};

function closed(schema) {
  if (Array.isArray(schema)) return schema.map(closed);
  if (schema === null || typeof schema !== "object") return schema;
  const copy = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value)]));
  if (schema.type === "object" && schema.properties && !("additionalProperties" in schema))
    copy.additionalProperties = false;
  return copy;
}

function model({ apiVersion, kind }) {
  try {
    return require(`kubernetes-models/${apiVersion}/${kind}`)[kind];
  } catch {
    throw new Error(`there is no ${kind} in ${apiVersion}`);
  }
}

let wrong = 0;
for (const document of yaml.loadAll(await text(process.stdin))) {
  try {
    new (model(document))(document).validate();
    console.log(JSON.stringify(document));
  } catch (error) {
    wrong++;
    console.error(`${document.kind} ${document.metadata?.name}: ${error.message}`);
  }
}
process.exit(wrong ? 1 : 0);
