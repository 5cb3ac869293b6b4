// Tests of check-external-types.sh, with the real tool. Run: node --test scripts/*.test.mjs

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const TOOL = join(ROOT, ".tools/bin/cargo-check-external-types");
const folders = [];
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

/** Checks a workspace in which proxy-core's API has a type of the crate `other`, and allows `allowed`. */
function check(allowed) {
  const folder = mkdtempSync(join(tmpdir(), "check-external-types-"));
  folders.push(folder);
  const script = join(folder, "scripts/check-external-types.sh");
  cpSync(join(ROOT, "scripts/check-external-types.sh"), script);
  cpSync(join(ROOT, "rust-toolchain.toml"), join(folder, "rust-toolchain.toml"));
  const crate = (name, code, more = "") => {
    mkdirSync(join(folder, "crates", name, "src"), { recursive: true });
    const manifest = `[package]\nname = "${name}"\nversion = "0.1.0"\nedition = "2024"\n${more}`;
    writeFileSync(join(folder, "crates", name, "Cargo.toml"), manifest);
    writeFileSync(join(folder, "crates", name, "src/lib.rs"), code);
  };
  writeFileSync(join(folder, "Cargo.toml"), '[workspace]\nmembers = ["crates/*"]\nresolver = "3"\n');
  crate("other", "pub struct Other;");
  crate("session-key", "pub struct Key(pub String);");
  crate(
    "proxy-core",
    "pub fn other() -> other::Other { hidden() }\nfn hidden() -> other::Other { other::Other }",
    `[dependencies]\nother = { path = "../other" }\n[package.metadata.cargo_check_external_types]\nallowed_external_types = ${JSON.stringify(allowed)}\n`,
  );
  const env = { ...process.env, CARGO_NET_OFFLINE: "true", CARGO_TARGET_DIR: join(folder, "target") };
  return spawnSync(script, [TOOL], { cwd: folder, env, encoding: "utf8" });
}

test("a type of another crate fails unless it is allowed, and the message says what to do", () => {
  const refused = check([]);
  assert.equal(refused.status, 1, refused.stderr);
  assert.match(refused.stdout + refused.stderr, /Unapproved external type `other::Other`/);
  assert.match(refused.stderr, /hide the type, or allow it in \[package\.metadata/);
  const allowed = check(["other::Other"]);
  assert.equal(allowed.status, 0, allowed.stdout + allowed.stderr);
});

test("a tool that cannot read the toolchain's JSON fails, without blame for a type", () => {
  const folder = mkdtempSync(join(tmpdir(), "check-external-types-"));
  folders.push(folder);
  cpSync(join(ROOT, "scripts/check-external-types.sh"), join(folder, "scripts/check-external-types.sh"));
  writeFileSync(join(folder, "tool"), "#!/bin/sh\nexit 2\n", { mode: 0o755 });
  const env = { ...process.env, CARGO_TARGET_DIR: join(folder, "target") };
  const script = join(folder, "scripts/check-external-types.sh");
  const { status, stderr } = spawnSync(script, [join(folder, "tool")], { env, encoding: "utf8" });
  assert.equal(status, 2);
  assert.doesNotMatch(stderr, /hide the type/);
});
