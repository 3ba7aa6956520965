"""An OpenAPI 3.1 document, and answers held against it. Its schemas are JSON Schema 2020-12."""

import json

import jsonschema

# Of HTTP itself, or of the body's framing.
NOT_DESCRIBED = {"content-type", "content-length", "date", "connection", "transfer-encoding"}
METHODS = ("get", "head", "post", "options")


class Document:
    """`seen`: {(operationId, status)} of what has been checked, the statuses as the document has them."""

    def __init__(self, text):
        self.text = text
        self.root = json.loads(text)
        self.paths, self.components = self.root["paths"], self.root["components"]
        self.seen = set()

    def resolve(self, value):
        while "$ref" in value:
            kind, name = value["$ref"].removeprefix("#/components/").split("/")
            value = self.components[kind][name]
        return value

    def operations(self):
        return {(method.upper(), path): item[method]
                for path, item in self.paths.items() for method in METHODS if method in item}

    def parameters(self, method, path):
        """[(in, name)] of an operation, those of its path among them."""
        given = self.paths[path].get("parameters", []) + self.paths[path][method.lower()].get("parameters", [])
        return [(parameter["in"], parameter["name"]) for parameter in map(self.resolve, given)]

    def validate(self, schema, value):
        whole = {"allOf": [schema], "components": self.components}
        jsonschema.Draft202012Validator(whole).validate(value)

    def check(self, method, path, answer):
        """Is this an answer that the operation may give? `path`: as the document has it."""
        operation = self.paths[path].get(method.lower(), self.paths[path]["get"])
        status = str(answer.status) if str(answer.status) in operation["responses"] else "default"
        described = self.resolve(operation["responses"][status])
        self.seen.add((operation["operationId"], status))
        self._check_headers(described, answer)
        if method == "HEAD" or answer.status in (204, 304):
            assert answer.body == b"", answer
        else:
            self._check_body(described, answer)

    def check_request(self, method, path, media_type, body):
        """Is this a body that the operation takes?"""
        schema = self.paths[path][method.lower()]["requestBody"]["content"][media_type].get("schema", {})
        self.validate(schema, json.loads(body) if media_type == "application/json" else body)

    def _check_headers(self, described, answer):
        headers = {name.lower(): self.resolve(header) for name, header in described["headers"].items()}
        for name, value in answer.headers:
            if name.lower() not in NOT_DESCRIBED:
                assert name.lower() in headers, (name, answer)
                self.validate(headers[name.lower()]["schema"], value)
        for name, header in headers.items():
            assert answer.header(name) is not None or not header.get("required"), (name, answer)

    def _check_body(self, described, answer):
        media_type = answer.header("content-type").partition(";")[0]
        assert media_type in described["content"], answer
        content = described["content"][media_type]
        is_json = media_type.endswith("json") and "ndjson" not in media_type
        value = answer.json() if is_json else answer.text()
        self.validate(content["schema"], value)
        if media_type == "application/problem+json":
            self.check_problem(value, answer.status)

    def check_problem(self, problem, status):
        row = {"type": problem["type"], "status": problem["status"], "title": problem["title"]}
        assert row in self.components["schemas"]["Problem"]["x-problems"] and row["status"] == status, problem
        assert len(problem["detail"]) > 10, problem

    def check_item(self, operation, item):
        """What a stream said, an Item of kit.streams."""
        content = self.resolve(operation["responses"]["200"])["content"]
        if item.id:  # SSE
            self.validate(content["text/event-stream"]["x-data"][item.kind], item.json())
        else:
            value = item.json()
            self.validate(content["application/x-ndjson"]["x-line"],
                          value if item.kind == "event" else {item.kind: value})
