// What the tests of delivery share: a checkout whose images are tiny, a real registry, and a `pulumi` that
// only writes down how it was called (the real one needs parts that no package registry has, see
// docs/homelab.md).

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const PROJECT = join(dirname(fileURLToPath(import.meta.url)), "../..");

const cleanups = [];

/** Ends and removes everything that the tests made, the last thing first. */
export async function cleanUp() {
  for (const cleanup of cleanups.reverse()) await cleanup();
}

function folder(name) {
  const path = mkdtempSync(join(tmpdir(), `opencode-delivery-${name}-`));
  cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** The images that this run builds; nobody else's have its owner. */
export const owner = `delivery-${process.pid}`;

/** A commit of its own with the project's scripts and Makefile, and Dockerfiles of a few bytes. */
export function checkout() {
  const root = folder("checkout");
  for (const path of ["scripts/image-tag.sh", "scripts/build-image.sh", "scripts/registry-has.mjs", "deploy/homelab/Makefile"]) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    cpSync(join(PROJECT, path), join(root, path));
  }
  mkdirSync(join(root, "deploy/session"));
  writeFileSync(join(root, "Cargo.toml"), '[workspace.package]\nversion = "1.2.3"\n');
  writeFileSync(join(root, "content"), "content\n");
  const stages = ["operator", "router"].map((stage) => `FROM scratch AS ${stage}\nCOPY content /${stage}\n`);
  writeFileSync(join(root, "deploy/Dockerfile"), stages.join(""));
  writeFileSync(join(root, "deploy/session/Dockerfile"), "FROM scratch\nARG OPENCODE_VERSION=9.8.7\nCOPY Dockerfile /session\n");
  // The stack's packages count as installed.
  writeFileSync(join(root, "deploy/homelab/package-lock.json"), "{}\n");
  writeFileSync(join(root, ".gitignore"), "node_modules\n");
  const git = (...args) => execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@example.test", ...args], { cwd: root, stdio: "ignore" });
  git("init", "--quiet");
  git("add", "--all");
  git("commit", "--quiet", "--message", "first");
  mkdirSync(join(root, "deploy/homelab/node_modules"));
  writeFileSync(join(root, ".git/auth.json"), '{ "auths": {} }');
  writeFileSync(join(root, "deploy/homelab/node_modules/.package-lock.json"), "{}\n");
  return { root, commit: execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).slice(0, 7) };
}

/** A folder for PATH with a pulumi that logs its arguments, one call a line. */
export function fakePulumi() {
  const path = folder("bin");
  const log = join(path, "pulumi.log");
  writeFileSync(join(path, "pulumi"), `#!/bin/sh\necho "$*" >>"${log}"\n`, { mode: 0o755 });
  writeFileSync(log, "");
  return { path, calls: () => readFileSync(log, "utf8").split("\n").filter(Boolean) };
}

/**
 * Starts a real registry on loopback, with a login if `htpasswd` names its users. Returns its `host`, and `stop`.
 */
export async function startRegistry({ htpasswd } = {}) {
  const program = process.env.TEST_REGISTRY_BIN;
  if (!program) throw new Error("TEST_REGISTRY_BIN names no registry: run tests/cluster/run delivery");
  const path = folder("registry");
  const port = await freePort();
  const auth = htpasswd ? `auth: { htpasswd: { realm: test, path: ${join(path, "htpasswd")} } }\n` : "";
  if (htpasswd) writeFileSync(join(path, "htpasswd"), htpasswd);
  writeFileSync(join(path, "config.yml"), `version: 0.1\nlog: { level: warn }\nstorage: { filesystem: { rootdirectory: ${join(path, "data")} } }\nhttp: { addr: "127.0.0.1:${port}" }\n${auth}`);
  const child = spawn(program, ["serve", join(path, "config.yml")], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (data) => (said = (said + data).slice(-2000)));
  const exited = once(child, "exit");
  const stop = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  cleanups.push(stop);
  const host = `127.0.0.1:${port}`;
  const deadline = Date.now() + 20_000;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the registry ended: ${said}`);
    const response = await fetch(`http://${host}/v2/`).catch(() => undefined);
    if (response) return { host, stop };
    if (Date.now() > deadline) throw new Error(`the registry does not answer: ${said}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/**
 * Runs a command of a checkout; never with the logins and settings of whoever runs the tests. (SHLVL: a bash whose
 * input is a socket would read a startup file if it thought that it is the first.)
 */
export function run(root, command, args, { env = {}, path, input = "" } = {}) {
  const environment = { PATH: path ? `${path}:${process.env.PATH}` : process.env.PATH, HOME: root, SHLVL: "1", CONTAINER_TOOL: "buildah", BUILDAH_ISOLATION: "chroot", TMPDIR: tmpdir(), REGISTRY_AUTH_FILE: join(root, ".git/auth.json"), ...env };
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: root, env: environment, input, encoding: "utf8", timeout: 120_000 });
  return { status, stdout, stderr };
}

/** Runs `make` in the checkout's deploy/homelab. */
export const make = (root, goals, options) => run(root, "make", ["--no-print-directory", "-C", "deploy/homelab", ...goals], options);

export function buildah(...args) {
  return execFileSync("buildah", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();
}

/** Removes this run's images from buildah's store. By name: another name of the same image stays. */
export function removeImages() {
  const lines = buildah("images", "--all", "--format", "{{.Name}} {{.Tag}} {{.Digest}}").split("\n");
  const names = lines.map((line) => line.trim().split(/\s+/)).filter(([name]) => name.includes(`/${owner}/`));
  for (const [name, tag, digest] of names) buildah("rmi", "--force", tag === "<none>" ? `${name}@${digest}` : `${name}:${tag}`);
}
