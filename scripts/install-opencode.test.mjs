// Tests of the installer with a fake npm, which can fail in every way. Run: node --test scripts/*.test.mjs

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { OPENCODE_VERSION, packageFor } from "./install-opencode.mjs";

const SCRIPT = fileURLToPath(new URL("install-opencode.mjs", import.meta.url));
const root = mkdtempSync(join(tmpdir(), "install-opencode-"));
after(() => rmSync(root, { recursive: true, force: true }));

let folder;
let tools;
let count = 0;
beforeEach(() => {
  folder = join(root, `${count++}`, "opencode");
  tools = join(root, `${count}-tools`);
  mkdirSync(tools, { recursive: true });
});

const writeProgram = (path, text) => {
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
};

/** Installs a fake npm that runs this shell script; `$program` is the path of opencode's program. */
const fakeNpm = (script) => writeProgram(join(tools, "npm"), `echo "$@" >>"${tools}/calls"\nprogram="$4/node_modules/\${2%@*}/bin/opencode"\nmkdir -p "$(dirname "$program")"\n${script}`);
const writesOpencode = (version = OPENCODE_VERSION) => `printf '#!/bin/sh\\necho ${version}\\n' >"$program"; chmod +x "$program"`;
const calls = () => (existsSync(join(tools, "calls")) ? readFileSync(join(tools, "calls"), "utf8").trim().split("\n") : []);

function start({ args = ["--dir", folder], env = {}, path = `${tools}:/usr/bin:/bin` } = {}) {
  const child = spawn(process.execPath, [SCRIPT, ...args], { env: { PATH: path, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  const output = { out: "", err: "" };
  child.stdout.on("data", (chunk) => (output.out += chunk));
  child.stderr.on("data", (chunk) => (output.err += chunk));
  return { child, ended: new Promise((done) => child.once("close", (code, signal) => done({ code, signal, ...output }))) };
}
const run = (options) => start(options).ended;

/** Runs the installer with a working npm, and asserts that opencode is installed. */
async function assertInstalls() {
  fakeNpm(writesOpencode());
  const { code, out, err } = await run();
  assert.equal(code, 0, err);
  assert.equal(out, `${join(folder, "bin", "opencode")}\n`);
  assert.match(readFileSync(join(folder, "bin", "opencode"), "utf8"), /echo/);
}

test("only the path is printed, and a second run does nothing", async () => {
  await assertInstalls();
  assert.deepEqual(calls().length, 1);
  const { code, out, err } = await run();
  assert.deepEqual({ code, out, err }, { code: 0, out: `${join(folder, "bin", "opencode")}\n`, err: "" });
  assert.deepEqual(calls().length, 1);
});

test("the pinned version of this machine's package is installed", async () => {
  await assertInstalls();
  assert.match(calls()[0], new RegExp(`install opencode-(linux|darwin)-(x64-baseline|arm64)(-musl)?@${OPENCODE_VERSION.replaceAll(".", "\\.")} `));
});

test("an interrupted download is not used", async () => {
  fakeNpm(`printf half >"$program"; kill -9 $$`);
  const { code, out, err } = await run();
  assert.equal(code, 1);
  assert.equal(out, "");
  assert.match(err, /npm could not install .* \(it ended with SIGKILL\)/);
  assert.deepEqual(readdirSync(folder), []);
  await assertInstalls();
});

test("a killed installer leaves no opencode behind", async () => {
  fakeNpm(`${writesOpencode()}; touch "${tools}/started"; exec sleep 2`);
  const { child, ended } = start();
  while (!existsSync(join(tools, "started"))) await new Promise((done) => setTimeout(done, 10));
  child.kill("SIGKILL");
  assert.equal((await ended).signal, "SIGKILL");
  assert.equal(existsSync(join(folder, "bin")), false);
  await assertInstalls();
  assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith("partial-")), []);
});

test("an interrupted installer cleans up and ends npm", async () => {
  fakeNpm(`trap 'touch "${tools}/ended"; exit 1' TERM; touch "${tools}/started"; while :; do sleep 0.05; done`);
  const { child, ended } = start();
  while (!existsSync(join(tools, "started"))) await new Promise((done) => setTimeout(done, 10));
  child.kill("SIGINT");
  assert.equal((await ended).code, 130);
  while (!existsSync(join(tools, "ended"))) await new Promise((done) => setTimeout(done, 10));
  assert.deepEqual(readdirSync(folder), []);
});

test("two installations at once both succeed", async () => {
  fakeNpm(`${writesOpencode()}; sleep 0.3`);
  const both = await Promise.all([run(), run()]);
  assert.deepEqual(both.map(({ code, out }) => [code, out]), Array(2).fill([0, `${join(folder, "bin", "opencode")}\n`]));
  assert.deepEqual(readdirSync(folder).length, 2, "one program and one link");
});

test("a program of another version is refused", async () => {
  fakeNpm(writesOpencode("0.0.1"));
  const { code, err } = await run();
  assert.equal(code, 1);
  assert.match(err, /calls itself 0\.0\.1/);
});

test("a program that does not run is refused with its error", async () => {
  fakeNpm(`printf '#!/bin/sh\\necho GLIBC_9.9 not found >&2; exit 1\\n' >"$program"; chmod +x "$program"`);
  const { code, err } = await run();
  assert.equal(code, 1);
  assert.match(err, /does not run on this machine: .*GLIBC_9\.9 not found/s);
});

for (const [cause, npmOutput, sentence] of [
  ["no network", "npm error code ECONNREFUSED", /registry could not be reached.*\nnpm error code ECONNREFUSED/],
  ["a registry without that version", "npm error code ETARGET", /has no opencode-/],
  ["a full disk", "npm error code ENOSPC", /no space left/],
  ["a cache that may not be written", "npm error code EACCES", /may not write/],
  ["anything else", "npm error code EWHATEVER", /it ended with 7.*\nnpm error code EWHATEVER/s],
]) {
  test(`${cause} is reported in a sentence`, async () => {
    fakeNpm(`echo '${npmOutput}' >&2; exit 7`);
    const { code, out, err } = await run();
    assert.deepEqual([code, out], [1, ""]);
    assert.match(err, sentence);
    assert.doesNotMatch(err, /\.mjs:\d+/, "no stack");
  });
}

test("a missing npm is reported in a sentence", async () => {
  const { code, err } = await run({ path: join(root, "nowhere") });
  assert.equal(code, 1);
  assert.match(err, /npm was not found/);
});

test("a folder that cannot be created is reported in a sentence", async () => {
  writeFileSync(join(root, "file"), "");
  const { code, err } = await run({ args: ["--dir", join(root, "file", "below")] });
  assert.equal(code, 1);
  assert.match(err, /cannot be installed into .*file.below/);
  assert.doesNotMatch(err, /\.mjs:\d+/, "no stack");
});

test("OPENCODE_BIN is used and nothing is installed", async () => {
  const mine = join(tools, "mine");
  writeProgram(mine, "echo mine");
  const { code, out } = await run({ env: { OPENCODE_BIN: mine } });
  assert.deepEqual([code, out], [0, `${mine}\n`]);
  assert.equal(existsSync(folder), false);
});

test("an OPENCODE_BIN that is missing, a folder or not executable is refused", async () => {
  writeFileSync(join(tools, "text"), "");
  for (const [bin, sentence] of [["missing", /does not exist/], ["", /is not a file/], ["text", /may not be executed/]]) {
    const { code, out, err } = await run({ env: { OPENCODE_BIN: join(tools, bin) } });
    assert.deepEqual([code, out], [1, ""]);
    assert.match(err, sentence);
  }
});

test("every supported machine has a package", () => {
  const packages = [["linux", "x64", false], ["linux", "x64", true], ["linux", "arm64", false], ["linux", "arm64", true], ["darwin", "x64", false], ["darwin", "arm64", false]];
  assert.deepEqual(packages.map((machine) => packageFor(...machine)), [
    "opencode-linux-x64-baseline", "opencode-linux-x64-baseline-musl", "opencode-linux-arm64", "opencode-linux-arm64-musl", "opencode-darwin-x64-baseline", "opencode-darwin-arm64",
  ]);
  assert.throws(() => packageFor("win32", "x64", false), /this machine is win32 on x64.*OPENCODE_BIN/);
});

test("the session image has the same version", () => {
  const recipe = readFileSync(new URL("../deploy/session/Dockerfile", import.meta.url), "utf8");
  assert.match(recipe, new RegExp(`^ARG OPENCODE_VERSION=${OPENCODE_VERSION.replaceAll(".", "\\.")}$`, "m"));
});
