// Appends a JSON Schema to a module, by which the gate checks the configuration:
// node schema.mjs plugin.wasm schema.json

import { appendFileSync, readFileSync } from "node:fs";

const [module, schema] = process.argv.slice(2);
if (!schema) {
  console.error("usage: node schema.mjs plugin.wasm schema.json");
  process.exit(2);
}

function leb128(n) {
  const bytes = [];
  for (; n > 127; n >>= 7) bytes.push((n & 127) | 128);
  return Buffer.from([...bytes, n]);
}

const name = Buffer.from("gatehouse.schema");
const contents = Buffer.concat([leb128(name.length), name, readFileSync(schema)]);
appendFileSync(module, Buffer.concat([Buffer.from([0]), leb128(contents.length), contents]));
