#!/usr/bin/env node
// Installs the pinned version of opencode into `.opencode/` and prints the path of its program. Messages go
// to standard error.
//
//   node scripts/install-opencode.mjs [--dir FOLDER] [--pinned-version]
//
// The path is `.opencode/bin/opencode`, a link into the version's folder. The download goes to a temporary
// folder, which is renamed to the version's folder once its program has printed the right version. An
// interrupted download is therefore never used, and two installations at once do not disturb each other.
//
// If OPENCODE_BIN is set, that program is used and nothing is installed.

import { execFile, spawn } from "node:child_process";
import { accessSync, constants, existsSync, lstatSync, readlinkSync, statSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";

/** The pinned version; no other file names it, except the session image's Dockerfile. */
export const OPENCODE_VERSION = "1.18.33";

/** The approximate size of the unpacked program, for the progress line. */
const ABOUT_MEGABYTES = 185;
const PROJECT = dirname(dirname(fileURLToPath(import.meta.url)));

/** An error whose message is printed without a stack. */
class UserError extends Error {}

/**
 * Returns the npm package with opencode's program for a machine.
 *
 * On x64 it is the `baseline` build, which also runs on processors without AVX2.
 */
export function packageFor(system, processor, musl) {
  const name = {
    "linux x64": musl ? "opencode-linux-x64-baseline-musl" : "opencode-linux-x64-baseline",
    "linux arm64": musl ? "opencode-linux-arm64-musl" : "opencode-linux-arm64",
    "darwin x64": "opencode-darwin-x64-baseline",
    "darwin arm64": "opencode-darwin-arm64",
  }[`${system} ${processor}`];
  if (name) return name;
  throw new UserError(
    `opencode can be installed on Linux and macOS with x64 or arm64; this machine is ${system} on ${processor}. ` +
      "Install opencode yourself and set OPENCODE_BIN to its program.",
  );
}

/** Whether this Linux uses musl (Alpine) instead of glibc: only with glibc does a process report a glibc version. */
function usesMusl() {
  if (process.platform !== "linux") return false;
  process.report.excludeNetwork = true;
  return process.report.getReport().header.glibcVersionRuntime === undefined;
}

/** Checks the program that OPENCODE_BIN names, and returns its path. */
function checkOverride(path) {
  const program = resolve(path);
  let stat;
  try {
    stat = statSync(program);
  } catch {
    throw new UserError(`OPENCODE_BIN is ${program}, which does not exist. Correct it, or unset it to install opencode.`);
  }
  if (!stat.isFile()) throw new UserError(`OPENCODE_BIN is ${program}, which is not a file. Set it to opencode's program.`);
  try {
    accessSync(program, constants.X_OK);
  } catch {
    throw new UserError(`OPENCODE_BIN is ${program}, which may not be executed. Run: chmod +x ${program}`);
  }
  return program;
}

/** Shows progress: on one line of a terminal, or every ten seconds on a new line elsewhere. */
function progress(title) {
  const started = Date.now();
  const isTerminal = process.stderr.isTTY;
  let lastPrinted = 0;
  return {
    update(megabytes) {
      const seconds = Math.round((Date.now() - started) / 1000);
      const line = `${title}: ${megabytes} of about ${ABOUT_MEGABYTES} MB unpacked, ${seconds} s`;
      if (isTerminal) process.stderr.write(`\r\x1b[K${line}`);
      else if (seconds - lastPrinted >= 10) {
        lastPrinted = seconds;
        process.stderr.write(`${line}\n`);
      }
    },
    end() {
      if (isTerminal) process.stderr.write("\r\x1b[K");
      return Math.round((Date.now() - started) / 1000);
    },
  };
}

/** Returns the size of the files in `folder`. Files that are removed meanwhile count as empty. */
async function sizeOf(folder) {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => [])) {
    if (entry.isFile()) bytes += lstatSync(join(entry.parentPath ?? entry.path, entry.name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

/** Returns a sentence for npm's failure, by its output. */
function npmError(name, status, output) {
  const has = (...codes) => codes.some((code) => output.includes(code));
  const last = output.split("\n").filter((line) => /^npm (err|error|ERR!) [^{}]*\w/i.test(line) && !line.includes("error     at ")).slice(0, 6).join("\n");
  if (has("ENOSPC")) return `There is no space left to install opencode. It needs ${ABOUT_MEGABYTES} MB, and npm's cache 60 MB.`;
  if (has("EACCES", "EPERM", "EROFS")) return `npm may not write its files to install opencode. Check the permissions:\n${last}`;
  if (has("ETARGET", "E404")) return `The npm registry has no ${name}@${OPENCODE_VERSION}. Check \`npm config get registry\`.`;
  if (has("E401", "E403")) return `The npm registry refused ${name}@${OPENCODE_VERSION}. Check the sign-in in your .npmrc:\n${last}`;
  if (has("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH", "ERR_SOCKET_TIMEOUT", "ENOTCACHED", "EIDLETIMEOUT"))
    return `The npm registry could not be reached to install opencode. Check the network and npm's proxy setting, then try again; or set OPENCODE_BIN to an installed opencode.\n${last}`;
  return `npm could not install ${name}@${OPENCODE_VERSION} (it ended with ${status}):\n${last || "it printed no error"}`;
}

/** Installs the package into `folder` with npm, which checks the download against the registry's digest. */
async function download(name, folder, live) {
  await writeFile(join(folder, "package.json"), '{ "private": true }\n');
  const display = progress(`Downloading opencode ${OPENCODE_VERSION}`);
  const npm = spawn(
    "npm",
    ["install", `${name}@${OPENCODE_VERSION}`, "--prefix", folder, "--no-save", "--no-package-lock", "--ignore-scripts",
      "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error", "--no-progress", "--global=false", "--fetch-retries=1"],
    { cwd: folder, stdio: ["ignore", "pipe", "pipe"] },
  );
  live.npm = npm;
  let output = "";
  for (const stream of [npm.stdout, npm.stderr]) stream.on("data", (chunk) => (output = (output + chunk).slice(-20_000)));
  const timer = setInterval(async () => display.update(Math.round((await sizeOf(folder)) / 1e6)), 500);
  let status;
  try {
    status = await new Promise((done, failed) => {
      npm.once("error", failed);
      npm.once("close", (code, signal) => done(code ?? signal));
    });
  } catch (error) {
    if (error.code === "ENOENT")
      throw new UserError("npm was not found; opencode is installed with it. Install Node.js 20 or newer with npm, or set OPENCODE_BIN to an installed opencode.");
    throw new UserError(`npm could not be started: ${error.message}`);
  } finally {
    clearInterval(timer);
    live.npm = undefined;
    live.seconds = display.end();
  }
  if (status !== 0) throw new UserError(npmError(name, status, output));
}

/** Runs the program with an empty home folder, and checks that it prints the pinned version. */
async function verify(program, folder) {
  if (!existsSync(program)) throw new UserError(`The npm package does not contain opencode's program (${basename(dirname(program))}/${basename(program)}).`);
  const home = join(folder, "home");
  await mkdir(home);
  const env = { PATH: process.env.PATH, HOME: home, OPENCODE_DISABLE_AUTOUPDATE: "1", OPENCODE_DISABLE_MODELS_FETCH: "1" };
  let version;
  try {
    const { stdout } = await promisify(execFile)(program, ["--version"], { env, cwd: home, timeout: 60_000 });
    version = stdout.trim();
  } catch (error) {
    throw new UserError(`opencode is installed but does not run on this machine: ${(error.stderr || error.message).trim()}`);
  }
  if (version !== OPENCODE_VERSION) throw new UserError(`The installed opencode calls itself ${version}, not ${OPENCODE_VERSION}.`);
  await rm(home, { recursive: true, force: true });
}

/** Removes the folders of interrupted installations and of other versions. */
async function cleanUp(root, keep) {
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

/** Replaces `link` by a link to `target`, atomically. */
async function replaceLink(link, target) {
  const fresh = `${link}.${process.pid}`;
  await mkdir(dirname(link), { recursive: true });
  await rm(fresh, { force: true });
  await symlink(target, fresh);
  await rename(fresh, link);
}

/** Installs the pinned opencode under `root` unless it is installed, and returns its path. */
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
    await cleanUp(root, version);
    if (!existsSync(program)) {
      live.partial = await mkdtemp(join(root, `partial-${process.pid}-`));
      process.stderr.write(`Installing opencode ${OPENCODE_VERSION} into ${root} (about 60 MB to download, once).\n`);
      await download(name, live.partial, live);
      const bin = join(live.partial, "node_modules", name, "bin");
      await verify(join(bin, "opencode"), live.partial);
      await rename(bin, join(root, version)).catch((error) => {
        // Another installation was faster; its program has been verified, too.
        if (!["EEXIST", "ENOTEMPTY"].includes(error.code)) throw error;
      });
      process.stderr.write(`Installed opencode ${OPENCODE_VERSION} in ${live.seconds} s.\n`);
    }
    await replaceLink(link, target);
  } catch (error) {
    if (["EACCES", "EPERM", "EROFS"].includes(error.code))
      throw new UserError(`opencode cannot be installed into ${root}: writing there is not permitted (${error.message}).`);
    if (error.code === "ENOSPC") throw new UserError(`There is no space left in ${root}.`);
    if (error.syscall) throw new UserError(`opencode cannot be installed into ${root}: ${error.message}.`);
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

async function main(args, live) {
  if (Number(process.versions.node.split(".")[0]) < 20) throw new UserError(`Node.js 20 or newer is needed; this is ${process.version}.`);
  let root = join(PROJECT, ".opencode");
  while (args.length) {
    const arg = args.shift();
    if (arg === "--pinned-version") return OPENCODE_VERSION;
    if (arg === "--dir" && args.length) root = resolve(args.shift());
    else throw new UserError(`Unknown argument ${arg}. Usage: node scripts/install-opencode.mjs [--dir FOLDER] [--pinned-version]`);
  }
  if (process.env.OPENCODE_BIN) return checkOverride(process.env.OPENCODE_BIN);
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]]) {
    process.once(signal, async () => {
      live.interrupted = code;
      live.npm?.kill("SIGTERM");
      await discard(live);
      process.exit(code);
    });
  }
  return install(root, live);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const live = {};
  try {
    console.log(await main(process.argv.slice(2), live));
  } catch (error) {
    // npm was ended by the signal's handler, and may be gone before that is done.
    if (live.interrupted) process.exit(live.interrupted);
    console.error(error instanceof UserError ? error.message : error);
    process.exit(1);
  }
}
