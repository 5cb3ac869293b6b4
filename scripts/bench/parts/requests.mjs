// As many requests as a proxy answers: requests per second, and its processor time for each.
import { checkProxy } from "../lib/check.mjs";
import { loadWithWrk } from "../lib/load.mjs";
import { startProxy, startUpstream, title } from "../lib/proxies.mjs";
import { REQUESTS } from "../lib/settings.mjs";
import { fixed, grouped, median, progress, ratio, table } from "../lib/tables.mjs";

/** Starts and checks all proxies, in front of one upstream. */
async function startAll({ proxies, programs }) {
  const upstream = await startUpstream("nginx");
  const targets = [];
  for (const name of proxies) {
    progress(`starting and checking ${name}`);
    const target = await startProxy(name, { kind: "nginx", upstream, programs });
    target.reuses = await checkProxy(target);
    targets.push(target);
  }
  return targets;
}

/** Returns the median of a field, NaN if it was not measured. */
const figure = (results, name, field) =>
  results[name] ? median(results[name].map((result) => result[field])) : Number.NaN;

/** Prints all figures of one scenario. */
function printScenario(what, targets, results) {
  const base = ["rate", "time"].map((field) => figure(results, "haproxy", field));
  const rows = targets.map(({ name, reuses }) => {
    const [rate, time, idle] = ["rate", "time", "idle"].map((field) => figure(results, name, field));
    const rates = results[name].map((result) => result.rate);
    const spread = (Math.max(...rates) - Math.min(...rates)) / rate;
    const own = name === "direct" ? ["", ""] : [fixed(time, 1), ratio(time, base[1])];
    const percentages = [spread, idle].map((part) => `${fixed(100 * part, 0)} %`);
    const note = reuses ? "" : " (a connection to the upstream for each request)";
    return [title(name) + note, grouped(rate), ratio(rate, base[0]), ...own, ...percentages];
  });
  console.log(`\n### ${what}\n`);
  console.log(
    table(
      ["", "req/s", "to haproxy", "µs per request", "to haproxy", "spread of req/s", "machine idle"],
      rows,
    ),
  );
}

/** Prints one figure of all scenarios, with its ratio to haproxy's. */
function printSummary(heading, field, digits, names, scenarios, results) {
  const cell = (scenario, name) => {
    const value = figure(results[scenario], name, field);
    const text = digits === 0 ? grouped(value) : fixed(value, digits);
    return name === "haproxy"
      ? text
      : `${text} (${ratio(value, figure(results[scenario], "haproxy", field))})`;
  };
  const rows = scenarios.map(([scenario, { title: what }]) => [
    what,
    ...names.map((name) => cell(scenario, name)),
  ]);
  console.log(`\n### ${heading} (in brackets: to haproxy)\n`);
  console.log(table(["", ...names.map(title)], rows));
}

export async function measureRequests(settings) {
  const { core, parts, rounds, seconds } = settings;
  const scenarios = Object.entries(REQUESTS).filter(([name]) => parts.includes(name));
  if (scenarios.length === 0) return;
  const targets = await startAll(settings);
  const results = {};
  for (const [scenario, { all, title: what, ...load }] of scenarios) {
    const taking = targets.filter(({ name }) => all || core.includes(name));
    results[scenario] = Object.fromEntries(taking.map(({ name }) => [name, []]));
    for (let round = 1; round <= rounds; round++) {
      progress(`${what}, round ${round} of ${rounds}`);
      for (const target of taking) {
        results[scenario][target.name].push(await loadWithWrk(target, { ...load, seconds }));
      }
    }
    if (all) printScenario(what, taking, results[scenario]);
  }
  printSummary("Requests per second", "rate", 0, core, scenarios, results);
  const own = core.filter((name) => name !== "direct");
  printSummary("Processor time, µs per request", "time", 1, own, scenarios, results);
}
