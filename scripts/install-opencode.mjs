#!/usr/bin/env node
// Puts the opencode that this project is built and tested against into `.opencode/` and prints the
// path of its program, alone on standard output; everything said on the way goes to standard error.
//
//   node scripts/install-opencode.mjs [--dir FOLDER] [--pinned-version]
//
// The stable path is `.opencode/bin/opencode`, a link to the version's own folder. That folder gets
// its name only once the download is whole and its program has said its version, so whatever is
// found under that name can be used: a cut-off download lies in a folder of another name. That also
// makes it safe to run this twice at once.
//
// OPENCODE_BIN=/path/to/opencode is used instead where it is set; nothing is installed then.

import { execFile, spawn } from "node:child_process";
import { accessSync, constants, existsSync, lstatSync, readlinkSync, statSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";

/** The one place that names opencode's version. */
export const OPENCODE_VERSION = "1.18.33";

/** What the program weighs unpacked, for the progress line only. */
const ABOUT_MEGABYTES = 185;
const PROJECT = dirname(dirname(fileURLToPath(import.meta.url)));

/** A failure that is told in one sentence, without a stack. */
class Refusal extends Error {}

/**
 * The npm package with opencode's program for a machine.
 *
 * On x64 it is the `baseline` build, which runs on processors without AVX2 too.
 */
export function packageFor(system, processor, musl) {
  const name = {
    "linux x64": musl ? "opencode-linux-x64-baseline-musl" : "opencode-linux-x64-baseline",
    "linux arm64": musl ? "opencode-linux-arm64-musl" : "opencode-linux-arm64",
    "darwin x64": "opencode-darwin-x64-baseline",
    "darwin arm64": "opencode-darwin-arm64",
  }[`${system} ${processor}`];
  if (name) return name;
  throw new Refusal(
    `opencode is installed here for Linux and macOS on x64 and arm64, and this machine is ${system} on ${processor}. ` +
      "Install opencode yourself and set OPENCODE_BIN to its program.",
  );
}

/** Whether this Linux uses musl (Alpine) rather than glibc: only a glibc process knows a glibc version. */
function usesMusl() {
  if (process.platform !== "linux") return false;
  process.report.excludeNetwork = true;
  return process.report.getReport().header.glibcVersionRuntime === undefined;
}

/** The program named by OPENCODE_BIN, checked. */
function overriding(path) {
  const program = resolve(path);
  let stat;
  try {
    stat = statSync(program);
  } catch {
    throw new Refusal(`OPENCODE_BIN names ${program}, which does not exist. Correct it, or unset it to have opencode installed here.`);
  }
  if (!stat.isFile()) throw new Refusal(`OPENCODE_BIN names ${program}, which is not a file. Name opencode's program itself.`);
  try {
    accessSync(program, constants.X_OK);
  } catch {
    throw new Refusal(`OPENCODE_BIN names ${program}, which may not be executed. Run: chmod +x ${program}`);
  }
  return program;
}

/** Says `text` over and over on one line of a terminal, or now and then on lines of their own in a log. */
function progress(what) {
  const started = Date.now();
  const terminal = process.stderr.isTTY;
  let said = 0;
  return {
    at(megabytes) {
      const seconds = Math.round((Date.now() - started) / 1000);
      const line = `${what}: ${megabytes} of about ${ABOUT_MEGABYTES} MB unpacked, ${seconds} s`;
      if (terminal) process.stderr.write(`\r\x1b[K${line}`);
      else if (seconds - said >= 10) {
        said = seconds;
        process.stderr.write(`${line}\n`);
      }
    },
    end() {
      if (terminal) process.stderr.write("\r\x1b[K");
      return Math.round((Date.now() - started) / 1000);
    },
  };
}

/** The bytes in the files of `folder`; what vanishes meanwhile counts nothing. */
async function sizeOf(folder) {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => [])) {
    if (entry.isFile()) bytes += lstatSync(join(entry.parentPath ?? entry.path, entry.name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

/** What went wrong with npm, and what to do, from what it printed. */
function npmRefusal(name, status, output) {
  const has = (...codes) => codes.some((code) => output.includes(code));
  const last = output.split("\n").filter((line) => /^npm (err|error|ERR!) [^{}]*\w/i.test(line) && !line.includes("error     at ")).slice(0, 6).join("\n");
  if (has("ENOSPC")) return `There is no space left to unpack opencode (it needs ${ABOUT_MEGABYTES} MB and npm's cache 60 MB).`;
  if (has("EACCES", "EPERM", "EROFS")) return `npm may not write where it must to install opencode:\n${last}`;
  if (has("ETARGET", "E404")) return `The npm registry in use has no ${name}@${OPENCODE_VERSION}. Check \`npm config get registry\`.`;
  if (has("E401", "E403")) return `The npm registry in use refused ${name}@${OPENCODE_VERSION}. Check the sign-in in your .npmrc:\n${last}`;
  if (has("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH", "ERR_SOCKET_TIMEOUT", "ENOTCACHED", "EIDLETIMEOUT"))
    return `The npm registry could not be reached to install opencode. Check the network (and npm's proxy setting), then try again; or set OPENCODE_BIN to an opencode that you have.\n${last}`;
  return `npm could not install ${name}@${OPENCODE_VERSION} (it ended with ${status}):\n${last || "it said nothing"}`;
}

/** Lets npm unpack the package into `folder`; npm checks the download against the registry's digest. */
async function download(name, folder, live) {
  await writeFile(join(folder, "package.json"), '{ "private": true }\n');
  const told = progress(`Downloading opencode ${OPENCODE_VERSION}`);
  const npm = spawn(
    "npm",
    ["install", `${name}@${OPENCODE_VERSION}`, "--prefix", folder, "--no-save", "--no-package-lock", "--ignore-scripts",
      "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error", "--no-progress", "--global=false", "--fetch-retries=1"],
    { cwd: folder, stdio: ["ignore", "pipe", "pipe"] },
  );
  live.npm = npm;
  let output = "";
  for (const stream of [npm.stdout, npm.stderr]) stream.on("data", (chunk) => (output = (output + chunk).slice(-20_000)));
  const look = setInterval(async () => told.at(Math.round((await sizeOf(folder)) / 1e6)), 500);
  let status;
  try {
    status = await new Promise((done, failed) => {
      npm.once("error", failed);
      npm.once("close", (code, signal) => done(code ?? signal));
    });
  } catch (error) {
    if (error.code === "ENOENT")
      throw new Refusal("npm was not found, and opencode is installed with it. Install Node.js 20 or newer with npm, or set OPENCODE_BIN to an opencode that you have.");
    throw new Refusal(`npm could not be started: ${error.message}`);
  } finally {
    clearInterval(look);
    live.npm = undefined;
    live.seconds = told.end();
  }
  if (status !== 0) throw new Refusal(npmRefusal(name, status, output));
}

/** Runs the program once, with folders of its own, and checks that it is the pinned one. */
async function verify(program, folder) {
  if (!existsSync(program)) throw new Refusal(`The npm package has no program at ${basename(dirname(program))}/${basename(program)}: it is not the opencode that is expected.`);
  const home = join(folder, "home");
  await mkdir(home);
  const env = { PATH: process.env.PATH, HOME: home, OPENCODE_DISABLE_AUTOUPDATE: "1", OPENCODE_DISABLE_MODELS_FETCH: "1" };
  let said;
  try {
    const { stdout } = await promisify(execFile)(program, ["--version"], { env, cwd: home, timeout: 60_000 });
    said = stdout.trim();
  } catch (error) {
    throw new Refusal(`opencode was installed but does not run on this machine: ${(error.stderr || error.message).trim()}`);
  }
  if (said !== OPENCODE_VERSION) throw new Refusal(`The installed opencode calls itself ${said}, not ${OPENCODE_VERSION}.`);
  await rm(home, { recursive: true, force: true });
}

/** Removes what earlier runs left half-way, and versions no longer pinned. */
async function tidy(root, keep) {
  const alive = (pid) => {
    try {
      process.kill(pid, 0);
      return true;
    } catch (error) {
      return error.code === "EPERM";
    }
  };
  for (const name of await readdir(root)) {
    const partial = name.match(/^partial-(\d+)-/);
    const stale = partial ? !alive(Number(partial[1])) : name.startsWith("opencode-") && name !== keep;
    if (stale) await rm(join(root, name), { recursive: true, force: true });
  }
}

/** Points `link` at `target`, so that whoever looks sees the old link or the new one. */
async function relink(link, target) {
  const fresh = `${link}.${process.pid}`;
  await mkdir(dirname(link), { recursive: true });
  await rm(fresh, { force: true });
  await symlink(target, fresh);
  await rename(fresh, link);
}

/** Installs the pinned opencode under `root` unless it is there; answers with its stable path. */
export async function install(root, live = {}) {
  const name = packageFor(process.platform, process.arch, usesMusl());
  const version = `${name}-${OPENCODE_VERSION}`;
  const program = join(root, version, "opencode");
  const link = join(root, "bin", "opencode");
  const target = join("..", version, "opencode");
  const linked = () => {
    try {
      return readlinkSync(link) === target;
    } catch {
      return false;
    }
  };
  if (existsSync(program) && linked()) return link;
  try {
    await mkdir(root, { recursive: true });
    await tidy(root, version);
    if (!existsSync(program)) {
      live.partial = await mkdtemp(join(root, `partial-${process.pid}-`));
      process.stderr.write(`Installing opencode ${OPENCODE_VERSION} into ${root} (about 60 MB to download, once).\n`);
      await download(name, live.partial, live);
      const whole = join(live.partial, "node_modules", name, "bin");
      await verify(join(whole, "opencode"), live.partial);
      await rename(whole, join(root, version)).catch((error) => {
        // Another run was faster: its copy is as whole as this one.
        if (!["EEXIST", "ENOTEMPTY"].includes(error.code)) throw error;
      });
      process.stderr.write(`Installed opencode ${OPENCODE_VERSION} in ${live.seconds} s.\n`);
    }
    await relink(link, target);
  } catch (error) {
    if (["EACCES", "EPERM", "EROFS"].includes(error.code))
      throw new Refusal(`opencode cannot be installed into ${root}: writing there is not permitted (${error.message}).`);
    if (error.code === "ENOSPC") throw new Refusal(`There is no space left in ${root}.`);
    if (error.syscall) throw new Refusal(`opencode cannot be installed into ${root}: ${error.message}.`);
    throw error;
  } finally {
    await discard(live);
  }
  return link;
}

async function discard(live) {
  if (live.partial) await rm(live.partial, { recursive: true, force: true, maxRetries: 3 });
  live.partial = undefined;
}

async function main(args) {
  if (Number(process.versions.node.split(".")[0]) < 20) throw new Refusal(`Node.js 20 or newer is needed, and this is ${process.version}.`);
  let root = join(PROJECT, ".opencode");
  while (args.length) {
    const arg = args.shift();
    if (arg === "--pinned-version") return OPENCODE_VERSION;
    if (arg === "--dir" && args.length) root = resolve(args.shift());
    else throw new Refusal(`I do not know ${arg}. Usage: node scripts/install-opencode.mjs [--dir FOLDER] [--pinned-version]`);
  }
  if (process.env.OPENCODE_BIN) return overriding(process.env.OPENCODE_BIN);
  const live = {};
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]]) {
    process.once(signal, async () => {
      live.npm?.kill("SIGTERM");
      await discard(live);
      process.exit(code);
    });
  }
  return install(root, live);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  try {
    console.log(await main(process.argv.slice(2)));
  } catch (error) {
    console.error(error instanceof Refusal ? error.message : error);
    process.exit(1);
  }
}
