// Tests of .github/workflows: what actionlint and zizmor cannot know. Run: node --test scripts/*.test.mjs

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { IMAGES, matches, pushPaths } from "./ci/deploy-plan.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (path) => readFileSync(join(root, path), "utf8");
const folder = ".github/workflows";
const workflows = Object.fromEntries(readdirSync(join(root, folder)).map((name) => [name, read(`${folder}/${name}`)]));
const actions = readdirSync(join(root, ".github/actions")).map((name) => `.github/actions/${name}/action.yml`);
const texts = { ...workflows, ...Object.fromEntries(actions.map((path) => [path, read(path)])) };
const tracked = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { cwd: root, encoding: "utf8" }).trim().split("\n");

/** All values of a key in a text, such as `uses: x` or `- uses: x`. */
const values = (text, key) => [...text.matchAll(new RegExp(`^ *(?:- )?${key}: (.+)$`, "gm"))].map((match) => match[1].trim());

/** The jobs of a workflow, by name, as text. */
function jobs(text) {
  const blocks = text.split(/^jobs:\n/m)[1].split(/^ {2}(?=[a-z-]+:\n)/m).slice(1);
  return Object.fromEntries(blocks.map((block) => [block.slice(0, block.indexOf(":")), block]));
}

/** The shell text of all `run` steps. */
function commands(text) {
  const lines = text.split("\n");
  const found = [];
  for (let at = 0; at < lines.length; at++) {
    const run = lines[at].match(/^( *)(?:- )?run: (.*)$/);
    if (!run) continue;
    if (run[2] !== "|") {
      found.push(run[2]);
      continue;
    }
    const indent = lines[at + 1].match(/^ */)[0].length;
    while (at + 1 < lines.length && (lines[at + 1] === "" || lines[at + 1].match(/^ */)[0].length >= indent)) found.push(lines[++at].trim());
  }
  return found.join("\n");
}

/** The `with` inputs of the first step or job that uses this, as an object. */
function inputsOf(text, uses) {
  const after = text.slice(text.indexOf(`uses: ${uses}`)).split("\n").slice(1);
  const start = after.findIndex((line) => /^ *with:$/.test(line));
  const indent = after[start].match(/^ */)[0].length;
  const inputs = {};
  for (const line of after.slice(start + 1)) {
    if (line.trim() === "" || line.match(/^ */)[0].length <= indent) break;
    const [, key, value] = line.match(/^ *([a-z-]+): (.*)$/);
    inputs[key] = value.replaceAll('"', "");
  }
  return inputs;
}

test("every action is pinned to a commit of the committed list, and the list has no others", () => {
  const allowed = read(".github/pinned-actions.txt").split("\n").filter((line) => line && !line.startsWith("#"));
  for (const line of allowed) assert.match(line, /^[\w.-]+\/[\w.-]+ v\d+\.\d+\.\d+ [0-9a-f]{40}$/);
  const used = new Set();
  for (const [name, text] of Object.entries(texts)) {
    for (const value of values(text, "uses")) {
      if (value.startsWith("./")) {
        const path = value.slice(2);
        assert.ok(existsSync(join(root, path.endsWith(".yml") ? path : `${path}/action.yml`)), `${name} uses ${value}, which does not exist`);
        continue;
      }
      const [, action, commit, version] = value.match(/^([\w.-]+\/[\w.-]+)(?:\/[\w.-]+)?@([0-9a-f]{40}) # (v[\d.]+)$/) ?? assert.fail(`${name}: "${value}" is not pinned as owner/name@commit # version`);
      const line = `${action} ${version} ${commit}`;
      assert.ok(allowed.includes(line), `${name}: "${line}" is not in .github/pinned-actions.txt`);
      used.add(line);
    }
  }
  assert.deepEqual([...used].sort(), allowed.toSorted());
});

test("every script and make target that a workflow runs exists", () => {
  let seen = 0;
  for (const [name, text] of Object.entries(texts)) {
    for (const [path] of commands(text).matchAll(/(?:^|(?<=[\s"(]))(?:scripts|tests|\.ci)\/[\w./-]+/gm)) {
      assert.ok(existsSync(join(root, path)), `${name} runs ${path}, which does not exist`);
      if (!path.endsWith(".mjs")) assert.ok(statSync(join(root, path)).mode & 0o100, `${name} runs ${path}, which is not executable`);
      seen++;
    }
    for (const [, where = ".", target] of commands(text).matchAll(/\bmake (?:-C (\S+) )?("\$COMMAND"|[a-z-]+)/g)) {
      const wanted = target === '"$COMMAND"' ? ["deploy", "preview"] : [target];
      const makefile = read(join(where, "Makefile"));
      for (const one of wanted) assert.match(makefile, new RegExp(`^${one}:`, "m"), `${name} makes ${one} in ${where}`);
      seen++;
    }
  }
  assert.ok(seen > 8, `only ${seen} commands were found: does this test still read the workflows?`);
});

test("ci.yml runs each step of .ci/run once, and nothing else of it", () => {
  const steps = read(".ci/run").match(/^\[ \$# != 0 \] \|\| set -- (.*)$/m)[1].split(" ");
  const run = [...commands(workflows["ci.yml"]).matchAll(/\.ci\/run (\w+)/g)].map((match) => match[1]);
  assert.deepEqual(run, steps);
});

test("rights are given to jobs alone, with a reason, and every job has a limit of time", () => {
  for (const [name, text] of Object.entries(workflows)) {
    assert.match(text, /^permissions: \{\}$/m, name);
    assert.doesNotMatch(text, /secrets: inherit|write-all|read-all/, name);
    for (const [job, block] of Object.entries(jobs(text))) {
      assert.match(block, /^ {4}permissions:\n {6}contents: (read|write) # /m, `${name}: ${job}`);
      for (const right of block.match(/^ {6}[a-z-]+: (read|write)\b.*$/gm)) assert.match(right, / # to /, `${name}: ${job}: ${right}`);
      if (/^ {4}runs-on:/m.test(block)) assert.match(block, /^ {4}timeout-minutes: \d+$/m, `${name}: ${job}`);
    }
  }
});

test("no checkout leaves its token behind, and no step continues after a failed pipe", () => {
  for (const [name, text] of Object.entries(workflows)) {
    const steps = text.split(/^ {6}- /m);
    for (const step of steps.filter((one) => one.includes("actions/checkout@"))) assert.match(step, /persist-credentials: false/, name);
    if (/\brun:/.test(commands(text) ? text : "")) assert.match(text, /^defaults:\n {2}run:\n {4}shell: bash$/m, name);
  }
});

test("only the deployment's one job reads secrets, and it is bound to an environment", () => {
  for (const [name, text] of Object.entries(workflows)) {
    for (const [job, block] of Object.entries(jobs(text))) {
      if (!/\bsecrets\./.test(block.replaceAll(/^ *#.*$/gm, ""))) continue;
      assert.equal(`${name} ${job}`, "deploy-homelab.yml pulumi");
      assert.match(block, /^ {4}environment: /m);
    }
  }
  const names = new Set([...workflows["deploy-homelab.yml"].matchAll(/secrets\.([A-Z_]+)/g)].map((match) => match[1]));
  assert.deepEqual([...names].sort(), ["HOMELAB_KUBECONFIG", "KUBECONFIG", "PULUMI_ACCESS_TOKEN", "TS_OAUTH_CLIENT_ID", "TS_OAUTH_CLIENT_SECRET"]);
});

test("the deployment waits for the image workflows by their names", () => {
  const names = IMAGES.map(({ workflow }) => values(workflows[workflow], "name")[0]);
  const listed = workflows["deploy-homelab.yml"].match(/workflow_run:\n {4}workflows:\n((?: {6}- .*\n)+)/)[1];
  assert.deepEqual([...listed.matchAll(/- (.*)/g)].map((match) => match[1]), names);
});

for (const { workflow, name } of IMAGES) {
  const text = workflows[workflow];
  const paths = pushPaths(text);

  test(`${workflow}: a pull request builds what main pushes`, () => {
    assert.ok(text.includes(`  pull_request:\n    paths:\n${paths.map((path) => `      - "${path}"\n`).join("")}  push:`), "the paths differ");
    const built = inputsOf(text, "docker/build-push-action@");
    const pushed = inputsOf(text, "./.github/workflows/push-image.yml");
    assert.equal(pushed.image, name);
    for (const key of ["context", "file", "target"]) assert.equal(built[key], pushed[key], key);
  });

  test(`${workflow}: the Dockerfile and its stage exist`, () => {
    const { file, context, target } = inputsOf(text, "./.github/workflows/push-image.yml");
    assert.ok(existsSync(join(root, context)));
    if (target) assert.match(read(file), new RegExp(`^FROM .* AS ${target}$`, "mi"), `${file} has no stage ${target}`);
  });

  test(`${workflow}: a release pushes the same image`, () => {
    const { file, context, target = "" } = inputsOf(text, "./.github/workflows/push-image.yml");
    const quoted = (value) => (value === "" || value === "." ? `"${value}"` : value);
    assert.ok(workflows["release.yml"].includes(`{ image: ${name}, file: ${file}, context: ${quoted(context)}, target: ${quoted(target)} }`));
  });

  test(`${workflow}: each path fits a file`, () => {
    for (const path of paths) assert.ok(tracked.some((file) => matches([path.replace(/^!/, "")], file)), `no file fits ${path}`);
    assert.ok(matches(paths, `${folder}/${workflow}`));
  });
}

test("make and the workflows build the same images", () => {
  const cases = read("scripts/build-image.sh").matchAll(/^ {2}\w+\) component=(\S+) file=(\S+) context=(\S+) target=(\S*) ;;$/gm);
  const built = [...cases].map(([, image, file, context, target]) => ({ image, file, context, target: target.replaceAll("'", "") }));
  const pushed = IMAGES.map(({ workflow }) => ({ target: "", ...inputsOf(workflows[workflow], "./.github/workflows/push-image.yml") }));
  assert.deepEqual(pushed, built);
});

test("the deployment names images and stack in the Makefile's variables", () => {
  const makefile = read("deploy/homelab/Makefile");
  const job = jobs(workflows["deploy-homelab.yml"]).pulumi;
  const outputs = Object.fromEntries([...job.matchAll(/^ {10}(\w+_IMAGE): \$\{\{ needs\.plan\.outputs\.(\w+) \}\}$/gm)].map(([, variable, output]) => [variable, output]));
  const keys = Object.fromEntries([...makefile.matchAll(/^key_(\w+) := code:(\w+)$/gm)].map(([, variable, key]) => [variable, key]));
  assert.equal(Object.keys(keys).length, 3);
  assert.deepEqual(outputs, keys);
  assert.match(makefile, /^STACK_NAME \?= /m);
  assert.match(job, /^ {6}STACK_NAME: /m);
});

test("an image is built again if one of its crates changes", () => {
  const crates = (names, all = new Set(names)) => {
    for (const name of names) {
      const manifest = read(`crates/${name}/Cargo.toml`).split(/^\[dev-dependencies\]/m)[0];
      for (const [, one] of manifest.matchAll(/^([a-z-]+)(?:\.workspace| = \{.*workspace) = true/gm)) {
        if (existsSync(join(root, "crates", one)) && !all.has(one)) crates([one], all.add(one));
      }
    }
    return all;
  };
  const built = { "build-opencode-router.yml": ["router-bin", "cli"], "build-cloudflare-operator.yml": ["cloudflare-operator"] };
  for (const [workflow, programs] of Object.entries(built)) {
    const paths = pushPaths(workflows[workflow]);
    for (const name of crates(programs)) assert.ok(matches(paths, `crates/${name}/src/lib.rs`), `${workflow} ignores crates/${name}`);
    for (const file of ["Cargo.lock", "Cargo.toml", "rust-toolchain.toml", "deploy/Dockerfile", "scripts/image-tag.sh"]) assert.ok(matches(paths, file), `${workflow} ignores ${file}`);
  }
});
