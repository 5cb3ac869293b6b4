// What a run of the benchmark measures, from the command line.
import { parseArgs } from "node:util";
import { NAMES } from "./proxies.mjs";

const KIB = 1 << 10;
const MIB = 1 << 20;

/** Scenarios of requests per second; those with `all` are for all proxies, others for CORE. */
export const REQUESTS = {
  small: { title: "12-byte body, 32 connections", connections: 32, all: true },
  "small-1": { title: "12-byte body, 1 connection", connections: 1 },
  "small-256": { title: "12-byte body, 256 connections", connections: 256 },
  "64k": { title: "64 KiB body, 32 connections", connections: 32, path: "/files/64k" },
  "10m": { title: "10 MiB body, 8 connections", connections: 8, path: "/files/10m" },
  "upload-64k": {
    title: "64 KiB upload, 32 connections",
    connections: 32,
    path: "/upload",
    upload: 64 * KIB,
  },
  "upload-10m": { title: "10 MiB upload, 8 connections", connections: 8, path: "/upload", upload: 10 * MIB },
  reconnect: {
    title: "12-byte body, 32 clients, a connection for each request",
    connections: 32,
    reconnect: true,
  },
};
const PARTS = [...Object.keys(REQUESTS), "big", "latency", "sse", "memory"];
const CORE = ["direct", "haproxy", "nginx", "forward", "whole", "router"];

export const HELP = `Usage: make bench [ARGS="OPTION…"], or scripts/bench/bench.mjs [OPTION…] once make has installed its tools
Compares the router and proxy-core with other proxies, on loopback; prints Markdown tables.

  --only=LIST      parts: ${PARTS.slice(0, 8).join(", ")} (requests per
                   second), big (1 GiB down and up), latency (at a fixed rate), sse (delivery of events), memory
                   (of idle streams). Default: all, about 12 minutes on two cores
  --proxies=LIST   of ${NAMES.join(", ")}
  --quick          one short round of everything with few streams: shows that the benchmark works, no figures
  --rounds=N       rounds of each measurement; the median counts (default: 3)
  --seconds=N      of each measurement (default: 2)
  --router=FILE    a router that is built already, instead of cargo's profile bench
  --example=FILE   the example \`proxy\`, likewise
`;

/** Returns the items of a comma-separated list, in the order of `known`; throws if one is unknown. */
function chosen(list, known, what) {
  const items = list.split(",");
  const unknown = items.filter((name) => !known.includes(name));
  if (unknown.length)
    throw new Error(`no ${what} is called ${unknown.join(", ")}; there are ${known.join(", ")}`);
  return known.filter((name) => items.includes(name));
}

/** Reads the command line; returns nothing if it asks for help. */
export function readSettings(words) {
  const { values } = parseArgs({
    args: words,
    options: {
      only: { type: "string", default: PARTS.join(",") },
      proxies: { type: "string", default: NAMES.join(",") },
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      seconds: { type: "string" },
      router: { type: "string" },
      example: { type: "string" },
      help: { type: "boolean" },
    },
  });
  if (values.help) return undefined;
  const parts = chosen(values.only, PARTS, "part");
  const proxies = chosen(values.proxies, NAMES, "proxy");
  return {
    ...values,
    parts,
    proxies,
    core: CORE.filter((name) => proxies.includes(name)),
    rounds: Number(values.rounds ?? (values.quick ? 1 : 3)),
    seconds: Number(values.seconds ?? (values.quick ? 1 : 2)),
  };
}
