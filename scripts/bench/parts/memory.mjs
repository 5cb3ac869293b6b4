// The memory of idle streams: resident, both connections of each.
import { withIdleStreams } from "../lib/load.mjs";
import { end } from "../lib/processes.mjs";
import { startProxy, startUpstream, title } from "../lib/proxies.mjs";
import { fixed, grouped, progress, table } from "../lib/tables.mjs";
import { resident } from "../lib/usage.mjs";

const PROXIES = ["haproxy", "nginx", "envoy", "whole", "router"];

/** `limit` is how many descriptors a process may open; a proxy needs two for each stream. */
export async function measureMemory({ proxies, programs, quick }, limit) {
  const count = Math.min(quick ? 1000 : 10_000, Math.floor((limit - 600) / 2));
  const rows = [];
  for (const name of PROXIES.filter((each) => proxies.includes(each))) {
    const row = [title(name)];
    for (const kind of ["events", "websockets"]) {
      progress(`${count} idle ${kind}: ${name}`);
      const upstream = await startUpstream("streams");
      const target = await startProxy(name, { kind: "streams", upstream, programs });
      await withIdleStreams(target, kind, 10, () => {}); // what is allocated once
      const before = resident(target.pids());
      const after = await withIdleStreams(target, kind, count, () => resident(target.pids()));
      row.push(fixed(before / 1024, 1), fixed(after / 1024, 1), fixed((after - before) / count, 1));
      await end(target.child);
    }
    rows.push(row);
  }
  const head = [
    "none (MiB)",
    "event streams (MiB)",
    "KiB each",
    "none (MiB)",
    "WebSockets (MiB)",
    "KiB each",
  ];
  console.log(`\n### Memory of ${grouped(count)} idle streams\n`);
  console.log(table(["", ...head], rows));
}
