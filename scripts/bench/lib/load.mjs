// What is sent to a proxy: load generators, and clients that hold streams open.
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import http from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { root } from "./cargo.mjs";
import { findProgram, scratchFolder } from "./processes.mjs";
import { BROWSER } from "./steady-load.mjs";
import { machineTime, processorTime } from "./usage.mjs";

const execute = promisify(execFile);

/** Runs a program; an error has the end of its output. */
async function output(program, args) {
  try {
    return (await execute(program, args, { maxBuffer: 1 << 28 })).stdout;
  } catch (error) {
    throw new Error(`${program} ended with ${error.code}: ${`${error.stdout}${error.stderr}`.slice(-1000)}`);
  }
}

/** The arguments for all headers of a request, with `-H` before each. */
const headerArguments = (target, connection = "keep-alive") =>
  [`Host: ${target.host}`, `Connection: ${connection}`, ...BROWSER, ...target.headers].flatMap((line) => [
    "-H",
    line,
  ]);

/** Returns the figures of wrk's report. */
export function parseWrk(report) {
  const requests = Number(/(\d+) requests in/.exec(report)?.[1]);
  const rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(report)?.[1]);
  if (!(requests > 0) || !(rate > 0)) throw new Error(`wrk reports no requests:\n${report}`);
  const errors = /Socket errors: .*|Non-2xx or 3xx responses: .*/.exec(report)?.[0];
  if (errors) throw new Error(`not all requests succeeded: ${errors}`);
  return { requests, rate };
}

/**
 * Loads a proxy with as many requests as it answers, for `seconds`. Returns requests per second, the proxy's
 * processor time per request (µs), and how much of the machine was idle.
 */
export async function loadWithWrk(
  target,
  { path = "/", connections, upload = 0, reconnect = false, seconds },
) {
  const script = join(scratchFolder(), `upload-${upload}.lua`);
  if (upload) writeFileSync(script, `wrk.method = "POST"\nwrk.body = string.rep("x", ${upload})\n`);
  const words = [
    "-t1",
    `-c${connections}`,
    `-d${seconds}s`,
    "--timeout",
    "10s",
    ...headerArguments(target, reconnect ? "close" : "keep-alive"),
  ];
  if (upload) words.push("-s", script);
  const pids = target.pids();
  const [used, machine] = [processorTime(pids), machineTime()];
  const { requests, rate } = parseWrk(
    await output(findProgram("wrk"), [...words, `http://127.0.0.1:${target.port}${path}`]),
  );
  const [usedAfter, machineAfter] = [processorTime(pids), machineTime()];
  const idle = (machineAfter.idle - machine.idle) / (machineAfter.all - machine.all);
  return { rate, time: (usedAfter - used) / requests, idle };
}

/** Moves `bytes` down from `path` or up to it; returns bytes per second and processor time per GiB (s). */
export async function transfer(target, { path, up, file, bytes }) {
  const words = [
    "-sS",
    "-o",
    "/dev/null",
    "-w",
    "%{http_code} %{time_total} %{size_download} %{size_upload}",
    "-H",
    `Host: ${target.host}`,
    "-H",
    "Expect:",
  ];
  for (const header of [...target.headers, "Sec-Fetch-Site: same-origin"]) words.push("-H", header);
  const pids = target.pids();
  const used = processorTime(pids);
  const report = await output(findProgram("curl"), [
    ...words,
    ...(up ? ["-T", file] : []),
    `http://127.0.0.1:${target.port}${path}`,
  ]);
  const [status, seconds, down, sent] = report.split(" ").map(Number);
  if (status !== 200 || (up ? sent : down) !== bytes)
    throw new Error(`${target.name}: ${path} was answered with ${report}`);
  return { rate: bytes / seconds, time: ((processorTime(pids) - used) / 1e6) * ((1 << 30) / bytes) };
}

/**
 * Sends `rate` requests per second, whatever the answers take. Latencies (ms) count from the moment when a
 * request was due, so that a slow answer is not hidden by requests that were not sent.
 */
export async function loadWithOha(target, { rate, seconds }) {
  const words = [
    "--no-tui",
    "--output-format",
    "json",
    "-q",
    String(rate),
    "--latency-correction",
    "-c",
    "64",
    "-z",
    `${seconds}s`,
    "-w",
    "--host",
    target.host,
  ];
  for (const header of [...BROWSER, ...target.headers]) words.push("-H", header);
  const report = JSON.parse(
    await output(join(root, ".tools/bin/oha"), [...words, `http://127.0.0.1:${target.port}/`]),
  );
  const { summary, latencyPercentiles, errorDistribution, statusCodeDistribution } = report;
  const errors = Object.keys(errorDistribution).length;
  if (errors || Object.keys(statusCodeDistribution).join() !== "200")
    throw new Error(
      `${target.name}: not all requests succeeded: ${JSON.stringify({ errorDistribution, statusCodeDistribution })}`,
    );
  return {
    rate: summary.requestsPerSec,
    p50: latencyPercentiles.p50 * 1000,
    p99: latencyPercentiles.p99 * 1000,
  };
}

/** Calls `open(index)` for all, at most 200 at a time. */
async function openAll(count, open) {
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(200, count) }, async () => {
      while (next < count) await open(next++);
    }),
  );
}

const headersOf = (target) => Object.fromEntries(target.headers.map((line) => line.split(": ")));

/** Opens an event stream; resolves with the request when its first event has arrived. */
const openEvents = (target, path, onData = () => {}) =>
  new Promise((resolve, fail) => {
    const headers = { host: target.host, accept: "text/event-stream", ...headersOf(target) };
    const outgoing = http.get(
      { port: target.port, host: "127.0.0.1", path, headers, agent: false },
      (response) => {
        if (response.statusCode !== 200)
          return fail(new Error(`${target.name}: a stream was answered with ${response.statusCode}`));
        response
          .once("data", () => resolve(outgoing))
          .on("data", onData)
          .on("error", () => {});
      },
    );
    outgoing.on("error", fail);
  });

/** Opens a WebSocket; resolves with the socket when it was accepted. */
const openWebSocket = (target) =>
  new Promise((resolve, fail) => {
    const head = [
      "GET /ws HTTP/1.1",
      `Host: ${target.host}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
      `Origin: http://${target.host}`,
      ...target.headers,
      "",
      "",
    ];
    const socket = connect(target.port, "127.0.0.1", () => socket.write(head.join("\r\n")));
    socket.on("error", fail);
    socket.once("data", (data) => {
      if (!data.toString("latin1").startsWith("HTTP/1.1 101 "))
        return fail(new Error(`${target.name}: a WebSocket was answered with ${data}`));
      socket.removeListener("error", fail).on("error", () => {});
      resolve(socket);
    });
  });

const OPENERS = {
  events: (target) => openEvents(target, "/event"),
  websockets: openWebSocket,
  site: (target) => openEvents({ ...target, host: `localhost:${target.port}` }, "/api/sessions/stream"),
};

/** Holds `count` idle streams open, of one of OPENERS, while `use` runs. */
export async function withIdleStreams(target, kind, count, use) {
  const open = [];
  try {
    await openAll(count, async () => open.push(await OPENERS[kind](target)));
    return await use();
  } finally {
    for (const each of open)
      each
        .removeAllListeners("error")
        .on("error", () => {})
        .destroy();
  }
}

/** Receives one event per second on each of `count` streams; returns how late they are (ms), p50 and p99. */
export async function eventLatency(target, { count, seconds }) {
  const late = [];
  let counting = false;
  const streams = [];
  await openAll(count, async () => {
    let rest = "";
    const onData = (data) => {
      const now = process.hrtime.bigint();
      const events = (rest + data).split("\n\n");
      rest = events.pop();
      for (const event of counting ? events : []) {
        if (/^data: \d/.test(event)) late.push(Number(now - BigInt(event.slice(6))) / 1e6);
      }
    };
    streams.push(await openEvents(target, "/event?every=1000", onData));
  });
  await new Promise((resolve) => setTimeout(resolve, 1000)); // until each has had its first
  counting = true;
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  counting = false;
  for (const each of streams)
    each
      .removeAllListeners("error")
      .on("error", () => {})
      .destroy();
  if (late.length < 0.8 * count * seconds)
    throw new Error(`${target.name}: only ${late.length} of ${count * seconds} events arrived`);
  late.sort((one, other) => one - other);
  const percentile = (part) => late[Math.floor(part * late.length)];
  return { p50: percentile(0.5), p99: percentile(0.99) };
}
