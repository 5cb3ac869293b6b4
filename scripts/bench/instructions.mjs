#!/usr/bin/env node
// Counts the instructions that a proxied request costs, by valgrind's callgrind. Other work on the machine
// does not change the count, so it says whether a change pays where time is noise.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { compare } from "./lib/budget.mjs";
import { countInstructions, dearest } from "./lib/callgrind.mjs";
import { cargoBuild, root } from "./lib/cargo.mjs";
import { endAll, endOnSignals, freePort, scratchFolder } from "./lib/processes.mjs";
import { createSession, routerAnswers, routerSettings } from "./lib/router.mjs";
import { send, startUpstream } from "./lib/steady-load.mjs";
import { grouped } from "./lib/tables.mjs";

const HELP = `Usage: scripts/bench/instructions.mjs [OPTION]…
Counts the instructions per request of the example proxy (crates/proxy-core/examples/proxy.rs).

  --depths=LIST       how many layers (default: forward,route,identify,origin,resolve,whole); router is the
                      router itself, with its own layers and local processes, and takes minutes to build
  --check             count the depths of instructions.json, and fail if one costs 5 % more than its budget
  --update            count them, and write what they cost as the new budgets
  --annotate[=LINES]  show the functions that cost most, for each depth (default: 40)
  --inclusive         with --annotate: a function's cost includes the functions that it calls
  --connections=N     keep-alive connections, each with one request under way (default: 1)
  --reconnect         a connection for each request; --connections are open at a time
  --requests=N        requests of a batch (default: 400); the cheapest of five batches counts, after one to warm up
  --profile=NAME      cargo's profile (default: profiling; bench is as the images are built, and builds longer)
  --binary=FILE       a program that is built already
  --keep=FOLDER       keep callgrind's files there, for KCachegrind or callgrind_annotate
`;
const HOST = "a48da0606867.localhost:8000";
const budgetFile = fileURLToPath(new URL("instructions.json", import.meta.url));

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
    reconnect: { type: "boolean" },
    requests: { type: "string", default: "400" },
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

const requests = Number(options.requests);
const connections = Number(options.connections);

/** Builds the program of a depth, once, and returns its path. */
function build(depth) {
  if (options.binary) return options.binary;
  const what = depth === "router" ? ["-p", "router-bin"] : ["-p", "proxy-core", "--example", "proxy"];
  // Lines and names for callgrind_annotate, whatever the profile.
  const variable = `CARGO_PROFILE_${options.profile.toUpperCase().replaceAll("-", "_")}`;
  return cargoBuild(options.profile, what, {
    [`${variable}_DEBUG`]: "line-tables-only",
    [`${variable}_STRIP`]: "none",
  });
}

/** Counts the instructions of one depth's requests. */
async function count(depth, upstream) {
  const folder = options.keep ?? scratchFolder();
  mkdirSync(folder, { recursive: true });
  const binary = build(depth);
  const load = { connections, count: requests, reconnect: options.reconnect };
  const common = { folder, name: depth };
  if (depth === "router") {
    const { port, env } = await routerSettings("router");
    let host;
    return countInstructions([binary], {
      ...common,
      env,
      ready: () => routerAnswers(port),
      warmUp: async () => {
        host = await createSession(port);
        await send(port, { host, ...load });
      },
      use: () => send(port, { host, ...load }),
    });
  }
  const port = await freePort();
  const all = () => send(port, { host: HOST, headers: ["X-Auth-Request-Email: me@example.com"], ...load });
  return countInstructions([binary, `127.0.0.1:${port}`, `127.0.0.1:${upstream}`, depth, "1"], {
    ...common,
    ready: (child) => child.log.includes("listening on"),
    warmUp: all,
    use: all,
  });
}

/** Makes valgrind available. Without it, a check is skipped outside of CI, and everything else fails. */
function haveValgrind() {
  try {
    execFileSync(join(root, "scripts/ensure-valgrind.sh"), { stdio: ["ignore", "ignore", "inherit"] });
    return true;
  } catch {
    if (!options.check || process.env.CI)
      throw new Error("the instructions could not be counted without valgrind");
    console.error("The budget of instructions per request is not checked.");
    return false;
  }
}

async function main() {
  const budgets = JSON.parse(readFileSync(budgetFile, "utf8"));
  if (options.check && process.arch !== "x64") {
    return console.error(
      `The budgets of instructions.json are of x86-64, this machine is ${process.arch}: nothing is checked.`,
    );
  }
  if (!haveValgrind()) return;
  const depths = options.check || options.update ? Object.keys(budgets) : options.depths.split(",");
  const upstream = await startUpstream();
  const costs = {};
  console.log("| layers | instructions per request |\n|---|---|");
  for (const depth of depths) {
    const { total, file } = await count(depth, upstream.address().port);
    const cost = total / requests;
    costs[depth] = cost;
    console.log(`| ${depth} | ${grouped(cost)} |`);
    if (options.annotate) {
      const list = dearest(file, Number(options.annotate), options.inclusive);
      console.log(
        list
          .map(([name, functionTotal]) => `${(functionTotal / requests).toFixed(0).padStart(8)}  ${name}\n`)
          .join(""),
      );
    }
  }
  upstream.close();
  if (options.update) {
    const rounded = Object.fromEntries(depths.map((depth) => [depth, Math.round(costs[depth])]));
    writeFileSync(budgetFile, `${JSON.stringify(rounded, null, 2)}\n`);
  }
  for (const depth of options.check ? depths : []) {
    const { within, message } = compare(depth, costs[depth], budgets[depth]);
    if (message) console.error(message);
    if (!within) process.exitCode = 1;
  }
}

try {
  endOnSignals();
  await main();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await endAll();
}
