// One big body down, and one up: speed, processor time, and whether memory grows.
import { closeSync, ftruncateSync, openSync } from "node:fs";
import { join } from "node:path";
import { transfer } from "../lib/load.mjs";
import { end, scratchFolder } from "../lib/processes.mjs";
import { startProxy, startUpstream, title } from "../lib/proxies.mjs";
import { fixed, median, progress, ratio, table } from "../lib/tables.mjs";
import { resident } from "../lib/usage.mjs";

const GIB = 1 << 30;

/** Makes a file of zeros that occupies no disk. */
function sparseFile(bytes) {
  const path = join(scratchFolder(), "upload");
  const file = openSync(path, "w");
  ftruncateSync(file, bytes);
  closeSync(file);
  return path;
}

async function measureOne(target, direction, { quick, rounds }, bytes, file) {
  const memory = () => (target.child ? resident(target.pids()) / 1024 : Number.NaN);
  const before = memory();
  let most = before;
  const sampler = setInterval(() => {
    most = Math.max(most, memory());
  }, 20);
  const results = [];
  for (let round = 0; round < rounds; round++) {
    const path = direction === "up" ? "/discard" : `/files/${quick ? "10m" : "1g"}`;
    results.push(await transfer(target, { path, up: direction === "up", file, bytes }));
  }
  clearInterval(sampler);
  const [rate, time] = ["rate", "time"].map((field) => median(results.map((result) => result[field])));
  return { direction, name: target.name, rate, time: target.child ? time : Number.NaN, before, most };
}

export async function measureTransfers(settings) {
  const { core, programs, quick } = settings;
  const bytes = quick ? 10 << 20 : GIB;
  const file = sparseFile(bytes);
  const figures = [];
  for (const [direction, kind] of [
    ["down", "nginx"],
    ["up", "streams"],
  ]) {
    const upstream = await startUpstream(kind);
    for (const name of core) {
      progress(`${quick ? "10 MiB" : "1 GiB"} ${direction}: ${name}`);
      const target = await startProxy(name, { kind, upstream, programs });
      figures.push(await measureOne(target, direction, settings, bytes, file));
      if (target.child) await end(target.child);
    }
  }
  const rows = figures.map(({ direction, name, rate, time, before, most }) => {
    const base = figures.find((other) => other.direction === direction && other.name === "haproxy");
    const speed = [fixed(rate / GIB, 2), ratio(rate, base?.rate)];
    const own = name === "direct" ? ["", ""] : [fixed(time, 2), ratio(time, base?.time)];
    return [
      direction,
      title(name),
      ...speed,
      ...own,
      ...(name === "direct" ? ["", ""] : [before, most].map((each) => fixed(each, 1))),
    ];
  });
  console.log(`\n### ${quick ? "10 MiB" : "1 GiB"} down and up, one client\n`);
  console.log(
    table(
      [
        "",
        "",
        "GiB/s",
        "to haproxy",
        "processor time (s/GiB)",
        "to haproxy",
        "RSS before (MiB)",
        "most RSS (MiB)",
      ],
      rows,
    ),
  );
}
