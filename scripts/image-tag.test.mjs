import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const SCRIPTS = dirname(fileURLToPath(import.meta.url));
const folders = [];
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

/** A checkout with the script and what it reads, committed if it `isGit`. */
function checkout({ isGit = true } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "image-tag-"));
  folders.push(folder);
  mkdirSync(join(folder, "scripts"));
  mkdirSync(join(folder, "deploy/session"), { recursive: true });
  cpSync(join(SCRIPTS, "image-tag.sh"), join(folder, "scripts/image-tag.sh"));
  writeFileSync(join(folder, "Cargo.toml"), '[workspace]\nmembers = []\n\n[workspace.package]\nversion = "1.2.3"\n\n[workspace.dependencies]\nserde = { version = "1" }\n');
  writeFileSync(join(folder, "deploy/session/Dockerfile"), "FROM scratch\nARG OPENCODE_VERSION=9.8.7\n");
  if (isGit) {
    const git = (...args) => execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@example.test", ...args], { cwd: folder, stdio: "ignore" });
    git("init", "--quiet");
    git("add", "--all");
    git("commit", "--quiet", "--message", "first");
  }
  return folder;
}

const commitOf = (folder) => execFileSync("git", ["rev-parse", "HEAD"], { cwd: folder, encoding: "utf8" }).slice(0, 7);

function run(folder, args, environment = {}) {
  const { GITHUB_REF_NAME, ...inherited } = process.env;
  // No repository above the folder counts.
  const env = { ...inherited, GIT_CEILING_DIRECTORIES: dirname(folder), ...environment };
  return spawnSync(join(folder, "scripts/image-tag.sh"), args, { env, encoding: "utf8" });
}

function tag(folder, image, environment) {
  const { status, stdout, stderr } = run(folder, [image], environment);
  assert.equal(status, 0, stderr);
  return stdout.trimEnd();
}

test("a tag names version, place and commit", () => {
  const folder = checkout();
  const commit = commitOf(folder);
  assert.equal(tag(folder, "opencode-router"), `1.2.3-local.${commit}`);
  assert.equal(tag(folder, "opencode-cloudflare-operator"), `1.2.3-local.${commit}`);
  assert.equal(tag(folder, "opencode-session"), `9.8.7-local.${commit}`);
});

test("the tag of a checkout with changes or new files ends with .dirty", () => {
  const changed = checkout();
  writeFileSync(join(changed, "Cargo.toml"), '[workspace.package]\nversion = "1.2.4"\n');
  assert.equal(tag(changed, "opencode-router"), `1.2.4-local.${commitOf(changed)}.dirty`);
  const added = checkout();
  writeFileSync(join(added, "new"), "");
  assert.equal(tag(added, "opencode-router"), `1.2.3-local.${commitOf(added)}.dirty`);
});

test("a workflow's tag names the branch or tag, in characters that a tag may have", () => {
  const folder = checkout();
  const commit = commitOf(folder);
  for (const [ref, expected] of [
    ["main", "main"],
    ["feature/über#1", "feature--ber-1"],
    ["12/merge", "12-merge"],
    ["v1.2.3", "v1.2.3"],
    ["a".repeat(200), "a".repeat(80)],
    ["$(touch x)", "--touch-x-"],
  ]) {
    // A character of several bytes may become several hyphens: what counts is that the tag is valid.
    const made = tag(folder, "opencode-router", { GITHUB_REF_NAME: ref, LC_ALL: "C.UTF-8" });
    assert.equal(made, `1.2.3-${expected}.${commit}`);
    assert.match(made, /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/);
  }
});

test("a detached commit has a tag", () => {
  const folder = checkout();
  execFileSync("git", ["checkout", "--quiet", "--detach"], { cwd: folder });
  assert.equal(tag(folder, "opencode-router"), `1.2.3-local.${commitOf(folder)}`);
});

test("without git the script says so and prints no tag", () => {
  const { status, stdout, stderr } = run(checkout({ isGit: false }), ["opencode-router"]);
  assert.equal(status, 1);
  assert.equal(stdout, "");
  assert.match(stderr, /not a git checkout/);
});

test("an unknown image is refused", () => {
  for (const args of [[], ["opencode"], ["router"]]) {
    const { status, stdout, stderr } = run(checkout(), args);
    assert.equal(status, 1);
    assert.equal(stdout, "");
    assert.match(stderr, /Usage/);
  }
});
