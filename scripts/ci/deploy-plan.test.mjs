// Tests of the decision what deploy-homelab.yml does. Run: node --test scripts/ci/*.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";
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
  "a pull request previews main's newest images": [{ event: "pull_request" }, { command: "preview", once: true, images: newest }],
  "a preview does not wait for builds": [
    { event: "pull_request", runs: { ...runs, [router]: [run("r3", null), run("r2", "failure"), run("r1")] } },
    { command: "preview", once: true, images: { ...newest, [router]: { commit: "r1" } } },
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
