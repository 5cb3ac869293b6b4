// Runs h2spec against the example proxy, in front of a server that answers every request. Fails if a case
// fails that is not a known exception, and if a known exception passes: `node h2spec.mjs H2SPEC PROXY`.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Cases that fail, and why they may. */
const exceptions = {
  // A connection that does not begin with the preface is read as HTTP/1, and answered with its 400 before it
  // is closed; h2spec expects it to be closed without a word.
  "http2/3.5: Sends invalid connection preface": "HTTP/1.1 is served on the same port",
};
/** Fewer than h2spec has would mean that it did not run. */
const leastCases = 146;

const [h2spec, proxy] = process.argv.slice(2);
const upstream = createServer((request, response) => {
  request.resume();
  request.on("end", () => response.end("hello from the upstream\n"));
  request.on("error", () => {});
});
await new Promise((resolve) => upstream.listen(0, "127.0.0.1", resolve));
const server = spawn(proxy, ["127.0.0.1:0", `127.0.0.1:${upstream.address().port}`, "forward"], {
  stdio: ["ignore", "pipe", "inherit"],
});
const folder = mkdtempSync(join(tmpdir(), "h2spec-"));
process.once("exit", () => {
  server.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

const [, port] = await new Promise((resolve, reject) => {
  server.once("error", reject);
  server.once("close", () => reject(new Error(`${proxy} ended before it listened`)));
  createInterface({ input: server.stdout }).once("line", (line) => resolve(/listening on .*:(\d+)/.exec(line) ?? reject(new Error(line))));
});
const report = join(folder, "report.xml");
// Generous, so that a busy machine is not at fault.
const options = ["--strict", "--timeout", "20", "--port", port, "--junit-report", report];
const output = await new Promise((resolve, reject) => {
  const run = spawn(h2spec, options, { stdio: ["ignore", "pipe", "pipe"] });
  const pieces = [];
  run.stdout.on("data", (piece) => pieces.push(piece));
  run.stderr.on("data", (piece) => pieces.push(piece));
  run.once("error", reject);
  run.once("close", () => resolve(Buffer.concat(pieces).toString()));
});

const cases = [...readFileSync(report, "utf8").matchAll(/<testcase package="([^"]*)" classname="([^"]*)"[^>]*?(?:\/>|>(.*?)<\/testcase>)/gs)];
const isFailed = ([, , , result = ""]) => result.includes("<failure") || result.includes("<error");
const name = ([, section, title]) => `${section}: ${title}`;
const failed = cases.filter(isFailed).map(name);
const unexpected = failed.filter((one) => !(one in exceptions));
const passed = Object.keys(exceptions).filter((one) => !failed.includes(one));
console.log(`h2spec: ${cases.length} cases, ${failed.length} failed, ${Object.keys(exceptions).length} exception`);
if (cases.length < leastCases || unexpected.length || passed.length) {
  console.error(output);
  if (cases.length < leastCases) console.error(`Only ${cases.length} of ${leastCases} cases ran.`);
  if (unexpected.length) console.error(`Failed:\n  ${unexpected.join("\n  ")}`);
  if (passed.length) console.error(`No longer an exception:\n  ${passed.join("\n  ")}`);
  process.exit(1);
}
process.exit(0);
