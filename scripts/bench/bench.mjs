#!/usr/bin/env node
// `make bench`: compares the router and proxy-core with other proxies, all in one run on loopback, and prints
// the tables of docs/benchmarks.md. Quote ratios, not absolute numbers.
import { spawn, spawnSync } from "node:child_process";
import { availableParallelism, loadavg, release } from "node:os";
import { cargoBuild } from "./lib/cargo.mjs";
import { descriptorLimit, endAll, endOnSignals, findProgram, findPrograms } from "./lib/processes.mjs";
import { HELP, readSettings } from "./lib/settings.mjs";
import { progress } from "./lib/tables.mjs";
import { measureTransfers } from "./parts/big.mjs";
import { measureEvents, measureLatency } from "./parts/latency.mjs";
import { measureMemory } from "./parts/memory.mjs";
import { measureRequests } from "./parts/requests.mjs";

/**
 * Idle streams need more descriptors than a shell's usual limit: starts this program again with more. Returns
 * the limit, or nothing if the other program does the work.
 */
function raiseLimit() {
  const wanted = 65_536;
  const limit = descriptorLimit();
  if (limit >= wanted || process.env.BENCH_LIMIT_RAISED) return limit;
  const script = `ulimit -n ${wanted} 2>/dev/null || ulimit -n "$(ulimit -Hn)"; exec "$0" "$@"`;
  const env = { ...process.env, BENCH_LIMIT_RAISED: "1" };
  const child = spawn("sh", ["-c", script, process.execPath, ...process.argv.slice(1)], {
    stdio: "inherit",
    env,
  });
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code) => process.exit(code ?? 1));
  return undefined;
}

const version = (program, argument) => {
  const { stdout, stderr } = spawnSync(program, [argument], { encoding: "utf8" });
  return /\d+\.\d+(\.\d+)?/.exec(`${stdout ?? ""}${stderr ?? ""}`)?.[0] ?? "?";
};

/** Prints what the figures depend on. */
function printMachine({ rounds, seconds, quick }) {
  const machine = `${availableParallelism()} cores, Linux ${release()}, load before ${loadavg()[0].toFixed(1)}`;
  const nginx = version(findProgram("nginx", "nginx-light"), "-v");
  const date = new Date().toISOString().slice(0, 10);
  console.log(
    `${date}, ${machine}; haproxy ${version("haproxy", "-v")}, nginx ${nginx}; ${rounds} rounds of ${seconds} s.`,
  );
  if (quick) console.log("**--quick: these are no figures to quote.**");
  if (loadavg()[0] > 0.5)
    progress("the machine is busy: only processor times mean something, and they less than usual");
}

async function main(settings, limit) {
  endOnSignals();
  findPrograms({ wrk: "wrk", haproxy: "haproxy", nginx: "nginx-light", curl: "curl" });
  const started = Date.now();
  settings.programs = {
    example: settings.example ?? cargoBuild("bench", ["-p", "proxy-core", "--example", "proxy"]),
    router: settings.router ?? cargoBuild("bench", ["-p", "router-bin"]),
  };
  const built = Date.now();
  printMachine(settings);
  const parts = [
    ["big", measureTransfers],
    ["latency", measureLatency],
    ["sse", measureEvents],
    ["memory", measureMemory],
  ];
  await measureRequests(settings);
  for (const [part, measure] of parts) {
    await endAll();
    if (settings.parts.includes(part)) await measure(settings, limit);
  }
  const minutes = [Date.now() - built, built - started].map((each) => (each / 60_000).toFixed(1));
  progress(`done: ${minutes[0]} minutes of measurements, ${minutes[1]} of builds`);
}

try {
  const settings = readSettings(process.argv.slice(2));
  if (!settings) process.stdout.write(HELP);
  const limit = settings && raiseLimit();
  if (limit) await main(settings, limit);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await endAll();
}
