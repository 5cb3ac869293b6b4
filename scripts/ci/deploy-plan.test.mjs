// Tests of the decision what deploy-homelab.yml does. Run: node --test scripts/ci/*.test.mjs

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { IMAGES, matches, plan, pushPaths } from "./deploy-plan.mjs";

const [router, operator, session] = IMAGES.map(({ name }) => name);
const paths = { [router]: ["crates/**", "!crates/cloudflare-operator/**", "web/**"], [operator]: ["crates/cloudflare-operator/**"], [session]: ["deploy/session/**"] };
const run = (head_sha, conclusion = "success", event = "push") => ({ head_sha, conclusion, event, status: conclusion ? "completed" : "in_progress", html_url: `https://example.com/${head_sha}` });
const runs = { [router]: [run("r2"), run("r1")], [operator]: [run("o1")], [session]: [run("s1")] };
const newest = { [router]: { commit: "r2" }, [operator]: { commit: "o1" }, [session]: { commit: "s1" } };

/** What is decided, where only what differs from a quiet main is given. */
const decide = (given) => plan({ event: "workflow_run", command: undefined, inputs: {}, runs, paths, changed: [], ...given });

const cases = {
  "after the last image workflow, the newest images are deployed": [{}, { command: "deploy", once: true, images: newest }],
  "while another image is being built, nothing is deployed: its end comes": [
    { runs: { ...runs, [operator]: [run("o2", null), run("o1")] } },
    { command: "", reason: "build-cloudflare-operator.yml is running (https://example.com/o2): its end starts the deployment" },
  ],
  "an older run that is still going counts, too": [
    { runs: { ...runs, [router]: [run("r2"), run("r1", null)] } },
    { command: "", reason: "build-opencode-router.yml is running (https://example.com/r1): its end starts the deployment" },
  ],
  "after a failed build, nothing is deployed": [
    { runs: { ...runs, [session]: [run("s2", "failure"), run("s1")] } },
    { command: "", reason: "the newest run of build-opencode-session.yml ended as failure (https://example.com/s2)" },
  ],
  "a pull request's run, also a fork's from its main, is no image of ours": [
    { runs: { ...runs, [router]: [run("evil", "success", "pull_request"), run("r2")] } },
    { command: "deploy", once: true, images: newest },
  ],
  "an image that was never pushed is named": [
    { runs: { ...runs, [session]: [] } },
    { command: "", reason: "build-opencode-session.yml has pushed no image from main: start it by hand" },
  ],
  "a push of the stack alone deploys": [{ event: "push", changed: ["deploy/homelab/src/index.ts"] }, { command: "deploy", once: true, images: newest }],
  "a push of the stack and of an image leaves it to the image's end, also if that has not begun": [
    { event: "push", changed: ["deploy/homelab/src/index.ts", "web/src/main.tsx"] },
    { command: "", reason: "this push also changes what opencode-router is built from: the end of build-opencode-router.yml starts the deployment" },
  ],
  "a pull request previews main's newest images": [{ event: "pull_request" }, { command: "preview", once: false, images: newest }],
  "a preview does not wait for builds": [
    { event: "pull_request", runs: { ...runs, [router]: [run("r3", null), run("r2", "failure"), run("r1")] } },
    { command: "preview", once: false, images: { ...newest, [router]: { commit: "r1" } } },
  ],
  "a preview takes the stack's own image if main has pushed none": [
    { event: "pull_request", runs: { ...runs, [operator]: [] } },
    { command: "preview", once: false, images: { [router]: { commit: "r2" }, [session]: { commit: "s1" } } },
  ],
  "by hand, one named image is enough": [
    { event: "workflow_dispatch", command: "deploy", inputs: { [operator]: "ghcr.io/acme/o:1" } },
    { command: "deploy", once: false, images: { ...newest, [operator]: { reference: "ghcr.io/acme/o:1" } } },
  ],
  "by hand, an image that is named need not have been built": [
    { event: "workflow_dispatch", command: "preview", inputs: { [session]: "ghcr.io/acme/s:1" }, runs: { ...runs, [session]: [] } },
    { command: "preview", once: false, images: { ...newest, [session]: { reference: "ghcr.io/acme/s:1" } } },
  ],
};
for (const [promise, [given, expected]] of Object.entries(cases)) {
  test(promise, () => assert.deepEqual(decide(given), expected));
}

test("what is no image with a tag is refused", () => {
  for (const image of ["ghcr.io/acme/o", "x:1\ncommand=deploy", "$(id):1", "-x:1"]) {
    assert.throws(() => decide({ event: "workflow_dispatch", command: "deploy", inputs: { [router]: image } }), /is not an image/);
  }
});

test("paths are understood as GitHub does", () => {
  const fits = [["crates/**", "crates/a/b.rs"], ["Cargo.lock", "Cargo.lock"], ["scripts/*.mjs", "scripts/a.mjs"], ["**", "a/b"]];
  const not = [["crates/**", "web/crates/a"], ["Cargo.lock", "crates/a/Cargo.lock"], ["scripts/*.mjs", "scripts/ci/a.mjs"], ["a.b", "axb"]];
  for (const [path, file] of fits) assert.ok(matches([path], file), `${path} ${file}`);
  for (const [path, file] of not) assert.ok(!matches([path], file), `${path} ${file}`);
  assert.ok(!matches(paths[router], "crates/cloudflare-operator/src/main.rs"));
});

test("the paths of the push trigger are read, also if it has branches", () => {
  assert.deepEqual(pushPaths('on:\n  pull_request:\n    paths:\n      - "x"\n  push:\n    branches: [main]\n    paths:\n      - "a/**"\n      - "!a/b"\n  workflow_dispatch:\n'), ["a/**", "!a/b"]);
  assert.throws(() => pushPaths("on:\n  push:\n    branches: [main]\n"), /no push trigger with paths/);
});

// The whole script, in a repository of its own, against a stand-in for GitHub's API.

const scratch = mkdtempSync(join(tmpdir(), "deploy-plan-"));
after(() => rmSync(scratch, { recursive: true, force: true }));
const git = (...args) => execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@example.com", ...args], { cwd: scratch, encoding: "utf8" }).trim();
function commit(files) {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(scratch, path)), { recursive: true });
    writeFileSync(join(scratch, path), text);
    if (path.endsWith(".sh")) chmodSync(join(scratch, path), 0o755);
  }
  git("add", "--all");
  git("commit", "--quiet", "--message", "x");
  return git("rev-parse", "HEAD");
}

async function runScript(event, body, environment = {}) {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push([request.headers.authorization, request.url]);
    const { workflow } = IMAGES.find(({ workflow }) => request.url.startsWith(`/repos/Acme/x/actions/workflows/${workflow}/runs?branch=main&`)) ?? {};
    response.writeHead(body[workflow] ? 200 : 404).end(JSON.stringify({ workflow_runs: body[workflow] }));
  }).listen(0, "127.0.0.1");
  await new Promise((done) => server.on("listening", done));
  const outputs = join(scratch, ".git/outputs");
  writeFileSync(outputs, "");
  const child = spawn(process.execPath, ["scripts/ci/deploy-plan.mjs"], {
    cwd: scratch,
    env: {
      PATH: process.env.PATH, GITHUB_EVENT_NAME: event, GITHUB_API_URL: `http://127.0.0.1:${server.address().port}`, GITHUB_REPOSITORY: "Acme/x",
      GITHUB_REPOSITORY_OWNER: "Acme", GITHUB_TOKEN: "token", GITHUB_OUTPUT: outputs, GITHUB_REF_NAME: "merge/1", HOMELAB_STACK: "dev", ...environment,
    },
  });
  let text = "";
  child.stdout.on("data", (chunk) => (text += chunk));
  child.stderr.on("data", (chunk) => (text += chunk));
  const code = await new Promise((done) => child.on("close", done));
  server.close();
  const lines = readFileSync(outputs, "utf8").trim().split("\n").filter(Boolean);
  return { code, text, asked, outputs: Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2))) };
}

test("the script names each image by the tag that its own commit gave it", async () => {
  git("init", "--quiet", "--initial-branch", "main");
  const here = fileURLToPath(new URL(".", import.meta.url));
  cpSync(here, join(scratch, "scripts/ci"), { recursive: true });
  cpSync(join(here, "../../.github"), join(scratch, ".github"), { recursive: true });
  const tag = (version) => `#!/bin/sh\ntest -z "$(git status --porcelain)" || exit 1\necho "${version}-$GITHUB_REF_NAME.$1.$(git rev-parse HEAD)"\n`;
  const first = commit({ "scripts/image-tag.sh": tag("1"), "deploy/homelab/index.ts": "1" });
  const second = commit({ "scripts/image-tag.sh": tag("2") });
  const workflowRuns = { "build-opencode-router.yml": [run(second)], "build-cloudflare-operator.yml": [run(first)], "build-opencode-session.yml": [run(first)] };

  const automatic = await runScript("workflow_run", workflowRuns);
  assert.equal(automatic.code, 0, automatic.text);
  const { key, ...rest } = automatic.outputs;
  assert.deepEqual(rest, {
    command: "deploy", once: "true",
    routerImage: `ghcr.io/acme/opencode-router:2-main.opencode-router.${second}`,
    cfOperatorImage: `ghcr.io/acme/opencode-cloudflare-operator:1-main.opencode-cloudflare-operator.${first}`,
    opencodeImage: `ghcr.io/acme/opencode-session:1-main.opencode-session.${first}`,
  });
  assert.deepEqual(automatic.asked.map(([token]) => token), Array(3).fill("Bearer token"));
  assert.equal(git("status", "--porcelain"), "");
  assert.equal(git("worktree", "list").split("\n").length, 1, "no worktree is left behind");

  // The key is the same for the same deployment, and another one for another image, stack or tree.
  assert.equal((await runScript("workflow_run", workflowRuns)).outputs.key, key);
  const others = [
    await runScript("workflow_run", { ...workflowRuns, "build-opencode-session.yml": [run(second)] }),
    await runScript("workflow_run", workflowRuns, { HOMELAB_STACK: "prod" }),
    (commit({ "deploy/homelab/index.ts": "2" }), await runScript("workflow_run", workflowRuns)),
  ].map(({ outputs }) => outputs.key);
  assert.equal(new Set([key, ...others]).size, 4);

  // By hand, with one image.
  const byHand = await runScript("workflow_dispatch", workflowRuns, { COMMAND: "preview", ROUTER_IMAGE: "ghcr.io/acme/opencode-router:mine" });
  assert.equal(byHand.outputs.command, "preview");
  assert.equal(byHand.outputs.routerImage, "ghcr.io/acme/opencode-router:mine");
  assert.equal(byHand.outputs.once, "false");

  // A push: its files are those between the two commits, or all of a new branch.
  const pushed = async (before, after) => {
    writeFileSync(join(scratch, ".git/event.json"), JSON.stringify({ before, after }));
    return (await runScript("push", workflowRuns, { GITHUB_EVENT_PATH: join(scratch, ".git/event.json") })).outputs.command;
  };
  assert.equal(await pushed(second, git("rev-parse", "HEAD")), "deploy");
  assert.equal(await pushed(first, git("rev-parse", "HEAD")), "", "scripts/image-tag.sh is a part of every image");
  assert.equal(await pushed("0".repeat(40), git("rev-parse", "HEAD")), "");

  // Without runs, and with a GitHub that refuses.
  const none = await runScript("workflow_run", {});
  assert.equal(none.code, 0, none.text);
  assert.equal(none.outputs.command, "");
  assert.match(none.text, /Nothing is deployed: build-opencode-router\.yml has pushed no image from main/);
  const refused = await runScript("workflow_run", {}, { GITHUB_API_URL: "http://127.0.0.1:1" });
  assert.notEqual(refused.code, 0);
  assert.deepEqual(refused.outputs, {});
});
