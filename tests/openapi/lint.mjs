// Lints OpenAPI and AsyncAPI documents by Redocly's rules: lint.mjs FILE... Prints what it finds; exit status 1 if that
// is anything.
import { createConfig, formatProblems, getTotals, lint } from "@redocly/openapi-core";

const rules = {
  "no-invalid-media-type-examples": { severity: "error", allowAdditionalProperties: false },
  "no-invalid-parameter-examples": "error",
  "no-invalid-schema-examples": "error",
  // It doesn't look into x-data and x-line; tests/integration/test_openapi.py does.
  "no-unused-components": "off",
  "operation-2xx-response": "error",
  // The files need no 4xx, and a probe has none: what any request may be told stands under default.
  "operation-4xx-response": "off",
  // The gateway that serves the document is the one it is about.
  "no-server-example.com": "error",
};
const config = await createConfig({ extends: ["recommended-strict"], rules });
const problems = [];
for (const file of process.argv.slice(2)) problems.push(...(await lint({ ref: file, config })));
formatProblems(problems, { format: "codeframe", totals: getTotals(problems), version: "" });
process.exit(problems.length > 0 ? 1 : 0);
