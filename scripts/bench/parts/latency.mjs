// Latency where requests come at a fixed rate, and of events.
import { eventLatency, loadWithOha } from "../lib/load.mjs";
import { end } from "../lib/processes.mjs";
import { startProxy, startUpstream, title } from "../lib/proxies.mjs";
import { fixed, grouped, median, progress, table } from "../lib/tables.mjs";

const RATE = 2000;
const OF_EVENTS = ["direct", "haproxy", "whole", "router"];

/** Prints `figures`, by name: `p50` and `p99`, and what they add to `direct`. */
function printLatency(heading, figures) {
  const rows = Object.entries(figures).map(([name, figure]) => {
    const cells = ["p50", "p99"].flatMap((field) => {
      const added =
        name === "direct" ? "" : fixed(figure[field] - (figures.direct?.[field] ?? Number.NaN), 2);
      return [fixed(figure[field], 2), added];
    });
    return [title(name), ...cells];
  });
  console.log(`\n### ${heading}\n`);
  console.log(table(["", "p50 (ms)", "added", "p99 (ms)", "added"], rows));
}

/** Measures all proxies at RATE requests per second. */
export async function measureLatency({ proxies, programs, rounds, seconds }) {
  const upstream = await startUpstream("nginx");
  const targets = [];
  for (const name of proxies) targets.push(await startProxy(name, { kind: "nginx", upstream, programs }));
  const results = Object.fromEntries(proxies.map((name) => [name, []]));
  for (let round = 1; round <= rounds; round++) {
    progress(`${RATE} requests per second, round ${round} of ${rounds}`);
    for (const target of targets) {
      results[target.name].push(await loadWithOha(target, { rate: RATE, seconds: 2 * seconds }));
    }
  }
  const figures = Object.entries(results).map(([name, list]) => {
    const [p50, p99] = ["p50", "p99"].map((field) => median(list.map((result) => result[field])));
    return [name, { p50, p99 }];
  });
  printLatency(`Latency at ${grouped(RATE)} requests per second, open loop`, Object.fromEntries(figures));
}

/** Measures how late events arrive on many streams. */
export async function measureEvents({ proxies, programs, quick }) {
  const count = quick ? 200 : 1000;
  const figures = {};
  for (const name of OF_EVENTS.filter((each) => proxies.includes(each))) {
    progress(`events on ${count} streams: ${name}`);
    const upstream = await startUpstream("streams");
    const target = await startProxy(name, { kind: "streams", upstream, programs });
    figures[name] = await eventLatency(target, { count, seconds: quick ? 2 : 8 });
    if (target.child) await end(target.child);
  }
  printLatency(`Delivery of events: ${grouped(count)} streams, one event per second on each`, figures);
}
