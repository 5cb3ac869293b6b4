// The memory of idle streams: resident, both connections of each.
import { withIdleStreams } from "../lib/load.mjs";
import { end } from "../lib/processes.mjs";
import { startProxy, startUpstream, title } from "../lib/proxies.mjs";
import { fixed, grouped, progress, table } from "../lib/tables.mjs";
import { resident } from "../lib/usage.mjs";

const PROXIES = ["haproxy", "nginx", "envoy", "whole", "router"];

/** Returns the cells of one proxy and kind of stream: resident memory without and with streams, and each. */
async function measureOne(name, kind, count, programs) {
  progress(`${count} idle streams (${kind}): ${name}`);
  const upstream = await startUpstream("streams");
  const target = await startProxy(name, { kind: "streams", upstream, programs });
  await withIdleStreams(target, kind, 10, () => {}); // what is allocated once
  const before = resident(target.pids());
  const after = await withIdleStreams(target, kind, count, () => resident(target.pids()));
  await end(target.child);
  return [fixed(before / 1024, 1), fixed(after / 1024, 1), fixed((after - before) / count, 1)];
}

/** `limit` is how many descriptors a process may open; a proxy needs two for each stream. */
export async function measureMemory({ proxies, programs, quick }, limit) {
  const count = Math.min(quick ? 1000 : 10_000, Math.floor((limit - 600) / 2));
  const rows = [];
  for (const name of PROXIES.filter((each) => proxies.includes(each))) {
    const events = await measureOne(name, "events", count, programs);
    rows.push([title(name), ...events, ...(await measureOne(name, "websockets", count, programs))]);
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
  if (!proxies.includes("router")) return;
  const [before, after, each] = await measureOne("router", "site", 1000, programs);
  console.log(
    `\nThe router's own \`/api/sessions/stream\`, 1,000 streams: ${before} → ${after} MiB, ${each} KiB each.`,
  );
}
