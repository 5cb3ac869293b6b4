// Tests of the scripts that the workflows run, with fakes of docker. Run: node --test scripts/ci/*.test.mjs

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "ci-scripts-"));
after(() => rmSync(scratch, { recursive: true, force: true }));
let folder;
let count = 0;
beforeEach(() => {
  folder = join(scratch, `${count++}`);
  mkdirSync(folder);
});

/** Runs a script of `from`; returns its code and output. */
function run(script, args = [], env = {}, from = root) {
  const { status, stdout, stderr } = spawnSync(join(from, "scripts/ci", script), args, { encoding: "utf8", env: { PATH: process.env.PATH, ...env } });
  return { status, stdout, stderr };
}

test("an image's name is in lower case, whoever owns the repository", () => {
  assert.equal(run("image-name.sh", ["opencode-router"], { GITHUB_REPOSITORY_OWNER: "Acme-Corp" }).stdout, "ghcr.io/acme-corp/opencode-router\n");
  assert.notEqual(run("image-name.sh", ["opencode-router"]).status, 0);
});

const digest = (letter) => `sha256:${letter.repeat(64)}`;

/** A copy of the scripts beside a fake scripts/image-tag.sh and a fake docker, which logs its arguments. */
function publishing(digests) {
  mkdirSync(join(folder, "scripts/ci"), { recursive: true });
  for (const name of ["image-name.sh", "publish-image.sh"]) cpSync(join(root, "scripts/ci", name), join(folder, "scripts/ci", name));
  const program = (path, text) => {
    writeFileSync(join(folder, path), `#!/bin/sh\n${text}\n`);
    chmodSync(join(folder, path), 0o755);
  };
  program("scripts/image-tag.sh", 'echo "0.1.0-main.abc1234"');
  mkdirSync(join(folder, "bin"));
  program("bin/docker", `echo "$*" >>${folder}/log; case "$*" in *inspect*) echo ${digest("f")} ;; esac`);
  mkdirSync(join(folder, "digests"));
  for (const [name, text] of Object.entries(digests)) writeFileSync(join(folder, "digests", name), `${text}\n`);
  return (version, ref) =>
    run("publish-image.sh", ["opencode-router", join(folder, "digests"), version], {
      PATH: `${folder}/bin:${process.env.PATH}`, GITHUB_REPOSITORY_OWNER: "acme", GITHUB_REF: ref, GITHUB_OUTPUT: join(folder, "outputs"),
    }, folder);
}
const bothPlatforms = { amd64: digest("a"), arm64: digest("b") };
const sources = `ghcr.io/acme/opencode-router@${digest("a")} ghcr.io/acme/opencode-router@${digest("b")}`;

for (const [what, version, ref, tag, latest] of [
  ["main's image gets main's tag and latest", "", "refs/heads/main", "0.1.0-main.abc1234", true],
  ["another branch's image is not the latest", "", "refs/heads/fix", "0.1.0-main.abc1234", false],
  ["a release gets its version and latest", "1.2.3", "refs/tags/v1.2.3", "1.2.3", true],
  ["a release candidate is not the latest", "1.2.3-rc.1", "refs/tags/v1.2.3-rc.1", "1.2.3-rc.1", false],
]) {
  test(`publish-image: ${what}`, () => {
    const { status, stderr } = publishing(bothPlatforms)(version, ref);
    assert.equal(status, 0, stderr);
    const latestTag = latest ? " --tag ghcr.io/acme/opencode-router:latest" : "";
    assert.equal(readFileSync(join(folder, "log"), "utf8").split("\n")[0], `buildx imagetools create --tag ghcr.io/acme/opencode-router:${tag}${latestTag} ${sources}`);
    assert.equal(readFileSync(join(folder, "outputs"), "utf8"), `image=ghcr.io/acme/opencode-router\ndigest=${digest("f")}\nreference=ghcr.io/acme/opencode-router:${tag}@${digest("f")}\n`);
  });
}

test("publish-image: a platform that is missing, or a file without a digest, publishes nothing", () => {
  for (const digests of [{ amd64: digest("a") }, { ...bothPlatforms, arm64: "sha256:none" }]) {
    const { status, stderr } = publishing(digests)("1.2.3", "refs/tags/v1.2.3");
    assert.notEqual(status, 0);
    assert.match(stderr, /digest/);
    assert.ok(!existsSync(join(folder, "log")));
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
  }
});

const kubeconfig = "apiVersion: v1\nkind: Config\nclusters:\n- name: homelab\n";
for (const [what, content] of [["as text", kubeconfig], ["as base64", Buffer.from(kubeconfig).toString("base64")], ["as base64 in lines", Buffer.from(kubeconfig.repeat(9)).toString("base64").replace(/.{76}/g, "$&\n")]]) {
  test(`write-kubeconfig: a secret ${what} becomes a file of this user alone`, () => {
    const file = join(folder, "new/config");
    const { status, stderr } = run("write-kubeconfig.sh", [file], { KUBECONFIG_CONTENT: content });
    assert.equal(status, 0, stderr);
    assert.ok(readFileSync(file, "utf8").startsWith(kubeconfig));
    assert.equal(statSync(file).mode & 0o777, 0o600);
  });
}

test("write-kubeconfig: anything else is refused, is not printed, and leaves no file", () => {
  for (const content of ["", "not base64 !", Buffer.from("a password").toString("base64"), "apiVersion: v1\nkind: Secret\n"]) {
    const file = join(folder, "config");
    const { status, stdout, stderr } = run("write-kubeconfig.sh", [file], { KUBECONFIG_CONTENT: content });
    assert.notEqual(status, 0, content);
    assert.match(stderr, /HOMELAB_KUBECONFIG|kubeconfig/);
    assert.ok(content === "" || !(stdout + stderr).includes(content));
    assert.ok(!existsSync(file));
  }
});

/** A tree with this version everywhere, except for the files in `other`. */
function tree(version, other = {}) {
  const files = {
    "Cargo.toml": `[workspace]\nmembers = []\n\n[workspace.package]\nversion = "${version}"\n\n[workspace.dependencies]\nx = { version = "9.9.9" }\n`,
    "deploy/chart/Chart.yaml": `apiVersion: v2\nversion: ${version}\nappVersion: "${version}"\n`,
    "CHANGELOG.md": `# Changelog\n\n## [Unreleased]\n\n### Added\n- Tomorrow.\n\n## [${version}] - 2026-01-01\n\n### Fixed\n- Today.\n\n## [0.0.1]\n- Yesterday.\n`,
    ...other,
  };
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  cpSync(join(root, "scripts/ci"), join(folder, "scripts/ci"), { recursive: true });
}

test("release-version: a tag that names the tree's version is taken", () => {
  tree("1.2.3");
  assert.deepEqual(run("release-version.sh", ["v1.2.3"], {}, folder), { status: 0, stdout: "version=1.2.3\n", stderr: "" });
});

test("release-version: a candidate needs no section of its own", () => {
  tree("1.2.3-rc.1", { "CHANGELOG.md": "## [Unreleased]\n- x\n" });
  assert.equal(run("release-version.sh", ["v1.2.3-rc.1"], {}, folder).stdout, "version=1.2.3-rc.1\n");
});

test("release-version: each file with another version is named", () => {
  tree("1.2.3", { "deploy/chart/Chart.yaml": 'version: 1.2.2\nappVersion: "1.2.1"\n', "CHANGELOG.md": "## [Unreleased]\n" });
  const { status, stdout, stderr } = run("release-version.sh", ["v1.2.3"], {}, folder);
  assert.notEqual(status, 0);
  assert.equal(stdout, "");
  assert.match(stderr, /\(version\) has the version "1\.2\.2"[^]*\(appVersion\) has the version "1\.2\.1"[^]*no section \[1\.2\.3\]/);
});

test("release-version: a tag that is no version is refused", () => {
  tree("1.2.3");
  for (const tag of ["1.2.3", "v1.2", "v1.2.3;id", "v1.2.3\nversion=9"]) assert.notEqual(run("release-version.sh", [tag], {}, folder).status, 0, tag);
});

test("release-notes: they are the version's own section", () => {
  tree("1.2.3");
  assert.equal(run("release-notes.sh", ["1.2.3"], {}, folder).stdout, "### Fixed\n- Today.\n");
  assert.equal(run("release-notes.sh", ["1.2.4-rc.1"], {}, folder).stdout, "### Added\n- Tomorrow.\n");
  assert.notEqual(run("release-notes.sh", ["4.5.6"], {}, folder).status, 0);
});

test("build-programs: the archive has the programs, executable, and their SBOMs, which also stand beside it", () => {
  cpSync(join(root, "scripts/ci"), join(folder, "scripts/ci"), { recursive: true });
  for (const name of ["LICENSE", "README.md", "CHANGELOG.md"]) writeFileSync(join(folder, name), name);
  mkdirSync(join(folder, "bin"));
  const fakes = {
    "bin/make": "exit 0",
    "bin/rustup": "exit 0",
    "bin/cargo": `echo "$RUSTFLAGS cargo $*" >>${folder}/log
      mkdir -p target/$6/release; for name in opencode-router opencode-routerctl opencode-cloudflare-operator; do echo $name >target/$6/release/$name; done`,
    "scripts/ci/list-packages.sh": 'mkdir -p "$3"; for name in opencode-router site; do echo "$1 $2" >"$3/$name.cdx.json"; done',
  };
  for (const [path, text] of Object.entries(fakes)) {
    writeFileSync(join(folder, path), `#!/bin/sh\n${text}\n`);
    chmodSync(join(folder, path), 0o755);
  }
  for (const target of ["aarch64-unknown-linux-gnu", "aarch64-apple-darwin"]) {
    const { status, stderr } = run("build-programs.sh", ["1.2.3", target, "out"], { PATH: `${folder}/bin:${process.env.PATH}` }, folder);
    assert.equal(status, 0, stderr);
    const name = `opencode-router-1.2.3-${target}`;
    const listed = spawnSync("tar", ["-tvzf", join(folder, "out", `${name}.tar.gz`)], { encoding: "utf8" }).stdout;
    for (const program of ["opencode-router", "opencode-routerctl", "opencode-cloudflare-operator"]) assert.match(listed, new RegExp(`^-rwxr-xr-x .* ${name}/${program}$`, "m"));
    for (const file of ["LICENSE", "README.md", "CHANGELOG.md", "opencode-router.cdx.json", "site.cdx.json"]) assert.match(listed, new RegExp(`^-rw-r--r-- .* ${name}/${file}$`, "m"));
    assert.equal(readFileSync(join(folder, "out", `${name}-site.cdx.json`), "utf8"), `1.2.3 ${target}\n`);
  }
  assert.deepEqual(readdirSync(join(folder, "out")).length, 6, "two archives, and two SBOMs of each");
  // Static on Linux alone.
  assert.deepEqual(readFileSync(join(folder, "log"), "utf8").split("\n").map((line) => line.split(" cargo")[0]), ["-C target-feature=+crt-static", "", ""]);
});
