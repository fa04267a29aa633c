// Checks the contract documents: the AsyncAPI document against its specification, and its examples against its own schemas; the
// OpenAPI document against the rules that make it useful to tools. Every finding is a fault, including hints.
//   node documents.mjs asyncapi|openapi FILE     (in the repository's root)
// Exit code 0: no findings. 1: findings. 2: wrong arguments.
import { existsSync, readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";
import spectralCore from "@stoplight/spectral-core";
import parsers from "@stoplight/spectral-parsers";
import rulesets from "@stoplight/spectral-rulesets";
import { Ajv } from "ajv";
import formats from "ajv-formats";

const SEVERITIES = ["error", "warning", "information", "hint"];
const PROTOBUF = "application/vnd.google.protobuf;version=3";

// The specification requires a protobuf schema as text in the document. Ours is a proto3 file that imports one of our files, and is not
// translated: no JSON schema is as precise as the .proto files.
const protobuf = { getMimeTypes: () => [PROTOBUF], validate: () => [], parse: ({ data }) => data };

async function asyncapi(file, text) {
  // 3.0 is what more tools read, and nothing of 3.1 is needed.
  const parser = new Parser({ ruleset: { rules: { "asyncapi-latest-version": "off" } } });
  parser.registerSchemaParser(protobuf);
  const { document, diagnostics } = await parser.parse(text, { source: file });
  const found = diagnostics.map((finding) => ({ ...finding, severity: SEVERITIES[finding.severity] }));
  return document ? [...found, ...messages(document.json().components.messages)] : found;
}

// What the parser leaves out: examples against headers and payloads, and protobuf payloads against the .proto files. Whether a .proto
// file has the message, and an example its fields, the tests know, which read the compiled files.
function messages(all) {
  const ajv = formats.default(new Ajv({ strict: false, allErrors: true }));
  const found = [];
  for (const [name, message] of Object.entries(all)) {
    const fault = (what, at) => found.push({ severity: "error", code: "message", message: what, path: [name, at] });
    const { payload, headers } = message;
    const isProtobuf = payload.schemaFormat === PROTOBUF;
    const imported = /^syntax = "proto3"; import public "([a-z0-9_/]+\.proto)";$/.exec(payload.schema)?.[1];
    if (isProtobuf && !imported) fault("the payload imports one .proto file", "payload");
    if (isProtobuf && !existsSync(`proto/${imported}`)) fault(`there is no proto/${imported}`, "payload");
    if (!message.examples?.length) fault("there is no example", "examples");
    for (const example of message.examples ?? []) {
      const check = (part, schema) => {
        if (ajv.validate(schema, example[part])) return;
        for (const error of ajv.errors) fault(`${error.instancePath} ${error.message}`, `examples.${example.name}.${part}`);
      };
      check("headers", { ...headers, propertyNames: { enum: names(headers) } });
      if (!isProtobuf) check("payload", payload);
    }
  }
  return found;
}

// Every header that a message may have.
function names(schema) {
  return [...new Set([...Object.keys(schema.properties ?? {}), ...(schema.allOf ?? []).flatMap(names)])];
}

async function openapi(file, text) {
  const spectral = new spectralCore.Spectral();
  spectral.setRuleset({
    extends: [[rulesets.oas, "all"]],
    // The document belongs to an installation: it needs no license URL and no address. Tags are in reading order.
    rules: { "info-license": "off", "license-url": "off", "contact-properties": "off", "openapi-tags-alphabetical": "off" },
  });
  const found = await spectral.run(new spectralCore.Document(text, parsers.Yaml, file));
  return found.map((finding) => ({ ...finding, severity: SEVERITIES[finding.severity] }));
}

const checks = { asyncapi, openapi };
const [kind, file] = process.argv.slice(2);
if (!Object.hasOwn(checks, kind ?? "") || !file) {
  console.error("usage: node documents.mjs asyncapi|openapi FILE");
  process.exit(2);
}
const found = await checks[kind](file, readFileSync(file, "utf8"));
for (const { severity, code, message, path, range } of found) {
  const line = range ? `:${range.start.line + 1}` : "";
  console.error(`${file}${line}: ${severity} ${code}: ${message} (at ${path?.join(".")})`);
}
process.exit(found.length === 0 ? 0 : 1);
