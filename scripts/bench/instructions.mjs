#!/usr/bin/env node
// Counts the instructions that a proxied request costs, by valgrind's callgrind. Other work on the machine
// does not change the count, so it says whether a change pays where time is noise.
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { end, endAll, findProgram, freePort, scratchFolder, start, until } from "./lib/processes.mjs";
import { send, startUpstream } from "./lib/steady-load.mjs";

const HELP = `Usage: scripts/bench/instructions.mjs [OPTION]…
Counts the instructions per request of the example proxy (crates/proxy-core/examples/proxy.rs).

  --depths=LIST       how many layers (default: forward,route,identify,origin,resolve,whole)
  --check             count the depths of instructions.json, and fail if one costs 5 % more than its budget
  --update            count them, and write what they cost as the new budgets
  --annotate[=LINES]  show the functions that cost most, for each depth (default: 40)
  --inclusive         with --annotate: a function's cost includes the functions that it calls
  --connections=N     keep-alive connections, each with one request under way (default: 1)
  --requests=N        counted requests (default: 1000); as many more warm up
  --profile=NAME      cargo's profile (default: profiling; bench is as the images are built, and builds longer)
  --binary=FILE       a proxy that is built already, with the example's arguments
  --keep=FOLDER       keep callgrind's files there, for KCachegrind or callgrind_annotate
`;
const budgetFile = fileURLToPath(new URL("instructions.json", import.meta.url));
const root = fileURLToPath(new URL("../..", import.meta.url));
const TOLERANCE = 0.05;

// `--annotate` alone has a default value.
const words = process.argv.slice(2).map((word) => (word === "--annotate" ? "--annotate=40" : word));
const { values: options } = parseArgs({
  args: words,
  options: {
    depths: { type: "string", default: "forward,route,identify,origin,resolve,whole" },
    check: { type: "boolean" },
    update: { type: "boolean" },
    annotate: { type: "string" },
    inclusive: { type: "boolean" },
    connections: { type: "string", default: "1" },
    requests: { type: "string", default: "1000" },
    profile: { type: "string", default: "profiling" },
    binary: { type: "string" },
    keep: { type: "string" },
    help: { type: "boolean" },
  },
});
if (options.help) {
  process.stdout.write(HELP);
  process.exit(0);
}

/** Builds the example and returns its path. */
function build() {
  if (options.binary) return options.binary;
  const { profile } = options;
  const args = ["build", "--locked", "--profile", profile, "-p", "proxy-core", "--example", "proxy"];
  // Lines and names for callgrind_annotate, whatever the profile.
  const variable = `CARGO_PROFILE_${profile.toUpperCase().replaceAll("-", "_")}`;
  const { status, stdout } = spawnSync("cargo", [...args, "--message-format=json-render-diagnostics"], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, [`${variable}_DEBUG`]: "line-tables-only", [`${variable}_STRIP`]: "none" },
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error("the example proxy could not be built (see above)");
  const built = stdout.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  return built.findLast((message) => message.executable && message.target.name === "proxy").executable;
}

/** Runs the proxy under callgrind for `count` requests; returns the instructions of its whole life. */
async function run(binary, depth, count, upstream, file) {
  const port = await freePort();
  const valgrind = findProgram("valgrind");
  const callgrind = ["--tool=callgrind", `--callgrind-out-file=${file}`, binary];
  // One core, so that no second worker's search for work is counted.
  const command = ["-c", "0", valgrind, ...callgrind, `127.0.0.1:${port}`, `127.0.0.1:${upstream}`, depth];
  const child = start(findProgram("taskset", "util-linux"), command, { TOKIO_WORKER_THREADS: "1" });
  await until(`the proxy (${depth})`, child, () => child.log.includes("listening on"), 60);
  const host = "a48da0606867.localhost:8000";
  const headers = ["X-Auth-Request-Email: me@example.com"];
  await send(port, { host, headers, connections: Number(options.connections), count });
  await end(child, "SIGINT", 60);
  const total = /^(?:summary|totals): (\d+)/m.exec(readFileSync(file, "utf8"));
  if (!total) throw new Error(`callgrind wrote no total for ${depth}; it said:\n${child.log.slice(-2000)}`);
  return Number(total[1]);
}

/** Returns a depth's instructions per request: what as many requests more cost, so without start and warm-up. */
async function count(binary, depth, upstream) {
  const folder = options.keep ?? scratchFolder();
  const requests = Number(options.requests);
  const files = [1, 2].map((times) => join(folder, `callgrind.${depth}.${times * requests}`));
  const once = await run(binary, depth, requests, upstream, files[0]);
  const twice = await run(binary, depth, 2 * requests, upstream, files[1]);
  return { cost: (twice - once) / requests, file: files[1] };
}

/** Prints the functions that cost most, in instructions per request. */
function annotate(file) {
  const args = ["--threshold=100", `--inclusive=${options.inclusive ? "yes" : "no"}`, "--auto=no", file];
  const report = execFileSync(findProgram("callgrind_annotate", "valgrind"), args, { encoding: "utf8", maxBuffer: 1 << 28 });
  const functions = new Map();
  for (const line of report.split("\n")) {
    const entry = /^\s*([\d,]+)\s+(?:\(\s*[\d.]+%\)\s+)?(.+)$/.exec(line);
    if (!entry || /PROGRAM TOTALS|events annotated/.test(line)) continue;
    const cost = Number(entry[1].replaceAll(",", ""));
    // `file:function [object]`: one entry for each file whose lines were inlined into the function.
    const name = entry[2].replace(/ \[[^\]]*\]$/, "").replace(/^.*?:(?!:)/, "");
    const known = functions.get(name) ?? 0;
    functions.set(name, options.inclusive ? Math.max(known, cost) : known + cost);
  }
  const requests = 2 * Number(options.requests);
  const dearest = [...functions].sort(([, one], [, other]) => other - one).slice(0, Number(options.annotate));
  for (const [name, cost] of dearest) console.log(`${(cost / requests).toFixed(0).padStart(8)}  ${name}`);
  console.log();
}

const grouped = (number) => Math.round(number).toLocaleString("en-US");

async function main() {
  const budgets = JSON.parse(readFileSync(budgetFile, "utf8"));
  const budgeted = options.check || options.update;
  const depths = budgeted ? Object.keys(budgets) : options.depths.split(",");
  findProgram("valgrind");
  const binary = build();
  const upstream = await startUpstream();
  const costs = {};
  console.log("| layers | instructions per request |\n|---|---|");
  for (const depth of depths) {
    const { cost, file } = await count(binary, depth, upstream.address().port);
    costs[depth] = cost;
    console.log(`| ${depth} | ${grouped(cost)} |`);
    if (options.annotate) annotate(file);
  }
  upstream.close();
  if (options.update) {
    const rounded = Object.fromEntries(depths.map((depth) => [depth, Math.round(costs[depth])]));
    writeFileSync(budgetFile, `${JSON.stringify(rounded, null, 2)}\n`);
  }
  if (options.check) {
    for (const depth of depths) {
      const change = costs[depth] / budgets[depth] - 1;
      const percent = `${Math.abs(change * 100).toFixed(1)} %`;
      if (change > TOLERANCE) {
        console.error(
          `A request through the layers "${depth}" costs ${grouped(costs[depth])} instructions, ${percent} more than its budget of ${grouped(budgets[depth])}.\n` +
            `See what costs them: scripts/bench/instructions.mjs --depths=${depth} --annotate\n` +
            "If the change is worth it, write new budgets (scripts/bench/instructions.mjs --update) and say why in the commit.",
        );
        process.exitCode = 1;
      } else if (change < -TOLERANCE) {
        console.log(`${depth} costs ${percent} less than its budget: scripts/bench/instructions.mjs --update keeps that.`);
      }
    }
  }
}

try {
  await main();
} finally {
  await endAll();
}
