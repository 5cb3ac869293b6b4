// Programs that the benchmarks start: found on the PATH, awaited, and ended with the benchmark.
import { execFileSync, spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const children = new Set();
let scratch;

/** Returns a folder, which `endAll` removes. */
export function scratchFolder() {
  scratch ??= mkdtempSync(join(tmpdir(), "router-bench-"));
  return scratch;
}

/** Returns the path of a program, or throws an error that names the Debian package that has it. */
export function findProgram(name, debianPackage = name) {
  for (const folder of [...process.env.PATH.split(":"), "/usr/sbin"]) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {}
  }
  throw new Error(`${name} is missing. On Debian and Ubuntu: sudo apt-get install ${debianPackage}`);
}

/** Throws an error that names all missing programs; `packages` are the Debian packages by program. */
export function findPrograms(packages) {
  const missing = Object.entries(packages).filter(([name, debianPackage]) => {
    try {
      return !findProgram(name, debianPackage);
    } catch {
      return true;
    }
  });
  if (missing.length === 0) return;
  const [names, wanted] = [0, 1].map((at) => missing.map((entry) => entry[at]));
  throw new Error(
    `${names.join(", ")} missing. On Debian and Ubuntu: sudo apt-get install ${wanted.join(" ")}`,
  );
}

/** Returns a free port of 127.0.0.1, chosen by the kernel. */
export const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** Returns how many descriptors a process may open. */
export const descriptorLimit = () => Number(execFileSync("sh", ["-c", "ulimit -n"], { encoding: "utf8" }));

/** Starts a program. Its output is kept in `child.log`, for errors. */
export function start(command, args, env = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  child.log = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (data) => (child.log = (child.log + data).slice(-20_000)));
  child.ended = new Promise((resolve) => {
    child.on("error", (error) => resolve(String(error)));
    child.on("exit", (code, signal) => resolve(signal ?? code));
  });
  child.ended.then((how) => {
    child.how = how;
    children.delete(child);
  });
  children.add(child);
  return child;
}

/** Ends a program and waits for its end; with SIGKILL if the signal does not end it in time. */
export async function end(child, signal = "SIGTERM", seconds = 40) {
  child.kill(signal);
  const timer = setTimeout(() => child.kill("SIGKILL"), seconds * 1000);
  const how = await child.ended;
  clearTimeout(timer);
  return how;
}

/** Ends all programs that still run, and removes the scratch folder. */
export async function endAll() {
  await Promise.all([...children].map((child) => end(child)));
  if (scratch) rmSync(scratch, { recursive: true, force: true });
  scratch = undefined;
}

/** Ends all programs when this one is interrupted, so that none is left. */
export function endOnSignals() {
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.once(signal, async () => {
      await endAll();
      process.exit(1);
    });
  }
}

/** Calls `check` until it returns something true; an error names `child`, with the end of its output. */
export async function until(what, child, check, seconds = 30) {
  const deadline = Date.now() + seconds * 1000;
  let last;
  while (Date.now() < deadline && child?.how === undefined) {
    try {
      const answer = await check();
      if (answer) return answer;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const end = child?.how === undefined ? "" : ` It ended with ${child.how}.`;
  throw new Error(`${what} did not start.${end} ${last ?? ""}\n${child?.log.slice(-2000) ?? ""}`);
}
