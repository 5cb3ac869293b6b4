// Tests of check-api.sh, with a stand-in for cargo-semver-checks. Run: node --test scripts/*.test.mjs

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const SCRIPTS = dirname(fileURLToPath(import.meta.url));
const folders = [];
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

/** A checkout with both crates, of which session-key inherits its version. */
class Checkout {
  constructor({ isGit = true } = {}) {
    this.folder = mkdtempSync(join(tmpdir(), "check-api-"));
    folders.push(this.folder);
    mkdirSync(join(this.folder, "scripts"));
    cpSync(join(SCRIPTS, "check-api.sh"), join(this.folder, "scripts/check-api.sh"));
    // Prints how it was called, and fails if told so.
    const tool = '#!/bin/sh\necho "tool $*"\n[ "${CARGO_NET_OFFLINE:-}" != true ] || exit "${OFFLINE_CODE:-0}"\nexit "${CODE:-0}"\n';
    writeFileSync(join(this.folder, "tool"), tool, { mode: 0o755 });
    this.write("Cargo.toml", '[workspace.package]\nversion = "0.1.0"\n');
    for (const crate of ["session-key", "proxy-core"]) {
      mkdirSync(join(this.folder, "crates", crate, "src"), { recursive: true });
      this.write(`crates/${crate}/src/lib.rs`, "");
    }
    this.write("crates/session-key/Cargo.toml", '[package]\nname = "session-key"\nversion.workspace = true\nrust-version.workspace = true\n');
    this.setVersion("0.2.0");
    if (isGit) {
      this.git("init", "--quiet");
      this.first = this.commit("first");
    }
  }

  write(path, text) {
    writeFileSync(join(this.folder, path), text);
  }

  setVersion(version) {
    this.write("crates/proxy-core/Cargo.toml", `[package]\nname = "proxy-core"\nversion = "${version}"\nrust-version.workspace = true\n`);
  }

  git(...args) {
    const git = ["-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "commit.gpgsign=false", ...args];
    return execFileSync("git", git, { cwd: this.folder, encoding: "utf8" }).trim();
  }

  commit(message) {
    this.git("add", "--all");
    this.git("commit", "--quiet", "--message", message);
    return this.git("rev-parse", "HEAD");
  }

  run(env = {}, folder = this.folder) {
    // No repository above the folder counts.
    const environment = { PATH: process.env.PATH, GIT_CEILING_DIRECTORIES: dirname(folder), ...env };
    return spawnSync(join(folder, "scripts/check-api.sh"), [join(this.folder, "tool")], { env: environment, encoding: "utf8" });
  }
}

const call = (crate, base, more = "") => `tool semver-checks --package ${crate} --all-features --baseline-rev ${base}${more}\n`;

test("a change is compared with the commit that set the version, not with the one before", () => {
  const checkout = new Checkout();
  checkout.write("crates/proxy-core/src/lib.rs", "// changed");
  checkout.commit("second");
  checkout.write("crates/proxy-core/Cargo.toml", '[package]\nname = "proxy-core"\nversion = "0.2.0"\n');
  checkout.commit("third");
  const { stdout, status } = checkout.run();
  assert.equal(status, 0);
  assert.ok(stdout.includes(call("proxy-core", checkout.first, " --release-type minor")), stdout);
  assert.match(stdout, /session-key 0\.1\.0 is as at/);
});

test("a new version is compared with the last commit, and from its own commit on with that", () => {
  const checkout = new Checkout();
  checkout.write("crates/proxy-core/src/lib.rs", "// changed");
  checkout.setVersion("0.3.0");
  assert.ok(checkout.run().stdout.includes(call("proxy-core", checkout.first)));
  const second = checkout.commit("second");
  assert.match(checkout.run().stdout, /proxy-core 0\.3\.0 is as at/);
  checkout.write("crates/proxy-core/src/lib.rs", "// changed again");
  assert.ok(checkout.run().stdout.includes(call("proxy-core", second, " --release-type minor")));
});

test("an inherited version is that of the workspace", () => {
  const checkout = new Checkout();
  checkout.write("crates/session-key/src/lib.rs", "// changed");
  checkout.write("Cargo.toml", '[workspace.package]\nversion = "0.2.0"\n');
  assert.ok(checkout.run().stdout.includes(call("session-key", checkout.first)));
});

test("a released crate is compared with its last release", () => {
  const checkout = new Checkout();
  checkout.git("tag", "proxy-core-v0.2.0");
  checkout.git("tag", "v9.9.9");
  checkout.setVersion("0.2.1");
  checkout.commit("second");
  checkout.write("crates/proxy-core/src/lib.rs", "// changed");
  checkout.commit("third");
  assert.ok(checkout.run().stdout.includes(call("proxy-core", checkout.first)));
});

test("a broken API fails, and the message says what to do", () => {
  const checkout = new Checkout();
  checkout.write("crates/proxy-core/src/lib.rs", "// changed");
  const { status, stdout, stderr } = checkout.run({ OFFLINE_CODE: "100" });
  assert.equal(status, 100);
  assert.doesNotMatch(stdout, /again/);
  assert.match(stderr, /proxy-core 0\.2\.0 breaks what it promised at [0-9a-f]{7}\. .*raise the crate's version/);
});

test("the network is used if the comparison fails without it, and an error is not called a break", () => {
  const checkout = new Checkout();
  checkout.write("crates/proxy-core/src/lib.rs", "// changed");
  const again = checkout.run({ OFFLINE_CODE: "101" });
  assert.equal(again.status, 0);
  assert.match(again.stdout, /again, with the network\ntool /);
  const { status, stderr } = checkout.run({ OFFLINE_CODE: "101", CODE: "101" });
  assert.equal(status, 101);
  assert.doesNotMatch(stderr, /breaks/);
});

test("without a commit to compare with, the check is skipped and says so", () => {
  const checkout = new Checkout({ isGit: false });
  const { status, stdout } = checkout.run({ OFFLINE_CODE: "100" });
  assert.equal(status, 0);
  assert.match(stdout, /skipped, because this is not a git checkout/);
});

test("a shallow clone says that it sees only a part of the history", () => {
  const checkout = new Checkout();
  checkout.write("crates/proxy-core/src/lib.rs", "// changed");
  checkout.commit("second");
  const folder = join(checkout.folder, "clone");
  checkout.git("clone", "--quiet", "--depth=1", `file://${checkout.folder}`, folder);
  const { status, stdout } = checkout.run({}, folder);
  assert.equal(status, 0);
  assert.match(stdout, /only the commits of this shallow clone/);
});

test("every test runs with the minimum supported Rust version, as proxy-core's README says", () => {
  const read = (path) => readFileSync(join(SCRIPTS, "..", path), "utf8");
  const [, msrv] = read("Cargo.toml").match(/^rust-version = "(.+)"$/m);
  assert.match(read("rust-toolchain.toml"), new RegExp(`^channel = "${msrv}\\.0"$`, "m"));
  assert.ok(read("crates/proxy-core/README.md").replaceAll("\n", " ").includes(`(MSRV) is ${msrv},`));
});
