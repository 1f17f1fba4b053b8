// Reads an AsyncAPI document with the official parser, and fails where that reports an
// error or a warning: node asyncapi.js FILE
import { Parser } from "@asyncapi/parser";
import { readFileSync } from "node:fs";

const [file] = process.argv.slice(2);
const severities = ["error", "warning", "information", "hint"];
const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"), { source: file });
const findings = diagnostics.filter((d) => d.severity <= 1);
for (const d of findings) {
  console.error(`${file}:${d.range.start.line + 1}: ${severities[d.severity]} ${d.code}: ${d.message} (${d.path.join(".")})`);
}
if (findings.length > 0 || !document) {
  console.error(`${file}: ${findings.length} findings`);
  process.exit(1);
}
const count = (all) => all.all().length;
console.log(`${file}: AsyncAPI ${document.version()}, ${count(document.channels())} channels, ${count(document.operations())} operations,` +
  ` ${count(document.messages())} messages, ${count(document.schemas())} schemas`);
