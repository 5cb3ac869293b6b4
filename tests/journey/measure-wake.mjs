#!/usr/bin/env node
// Measures what the router adds when a program's request wakes a stopped session: from opencode's own first
// healthy answer to the first byte in the waiting client.
//
//   cargo build --release -p router-bin && node tests/journey/measure-wake.mjs [COUNT]
//
// Opencode is asked directly as well, by a new request every 10 ms, since it never answers those that arrive
// too early; its port and password are read from its process.

import { execFileSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { eventually } from "./fixtures/gate.mjs";
import { startGitServer } from "./fixtures/git-server.mjs";
import { temporaryFolder } from "./fixtures/paths.mjs";
import { opencodePids } from "./fixtures/processes.mjs";
import { startRouter } from "./fixtures/router.mjs";
import * as site from "./fixtures/site.mjs";

const count = Number(process.argv[2] ?? 30);
const folder = temporaryFolder();
const git = await startGitServer(join(folder, "repositories"));
let router;
const rounds = [];
try {
  git.make("widgets", { ballast: 1_000_000 });
  router = await startRouter(folder);
  const made = await site.api(router, "POST", "/sessions", { body: { repoUrl: git.url("widgets"), branch: "main" } });
  const { hash } = made.json;
  await reaches(hash, "running");
  // The first round warms the page cache.
  for (let n = 0; n <= count; n++) {
    const round = await wake(hash);
    if (n) rounds.push(round);
  }
} finally {
  await router?.stop();
  await git.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}

const percentile = (list, part) => list.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(list.length * part) - 1)];
const report = (name, list) => console.log(`${name}: p50 ${percentile(list, 0.5)} ms, p95 ${percentile(list, 0.95)} ms, ${Math.min(...list)} to ${Math.max(...list)} ms`);
console.log(`${rounds.length} wakes; ${cpus().length} cores, load ${loadavg()[0].toFixed(1)}`);
report("opencode's first healthy answer → first byte in the waiting client", rounds.map(({ healthy, answered }) => answered - healthy));
report("request → first byte", rounds.map(({ answered }) => answered));

/** Stops the session, sends a request, and returns when opencode was healthy and when the answer began. */
async function wake(hash) {
  await site.api(router, "POST", `/sessions/${hash}/stop`);
  await reaches(hash, "stopped");
  const started = performance.now();
  const since = () => Math.round(performance.now() - started);
  const [answered, healthy] = await Promise.all([firstByte(site.hostOf(hash, router)).then(since), firstHealthy().then(since)]);
  return { answered, healthy };
}

function firstByte(host) {
  return new Promise((done, failed) => {
    const request = http.get({ host: "127.0.0.1", port: router.port, path: "/global/health", headers: { host }, agent: false });
    request.once("response", (response) => {
      response.resume();
      response.statusCode === 200 ? done() : failed(new Error(`answered with ${response.statusCode}`));
    });
    request.once("error", failed);
  });
}

/** Resolves once the router's opencode answers that it is healthy. */
async function firstHealthy() {
  const { port, password } = await eventually("opencode's process runs", () => {
    const [pid] = opencodePids(router.pid);
    if (!pid) return undefined;
    const args = execFileSync("ps", ["-ww", "-o", "args=", "-p", String(pid)], { encoding: "utf8" });
    const port = Number(args.match(/--port[ =](\d+)/)?.[1]);
    const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
    const password = environment.find((line) => line.startsWith("OPENCODE_SERVER_PASSWORD="))?.split("=")[1];
    return port && password && { port, password };
  });
  await new Promise((done) => {
    const timer = setInterval(() => {
      const request = http.get({ host: "127.0.0.1", port, path: "/global/health", auth: `opencode:${password}`, agent: false, timeout: 5_000 });
      request.once("timeout", () => request.destroy());
      request.on("error", () => {});
      request.once("response", (response) => {
        response.resume();
        if (response.statusCode !== 200) return;
        clearInterval(timer);
        done();
      });
    }, 10);
  });
}

async function reaches(hash, state) {
  await eventually(`the session is ${state}`, async () => (await site.getSession(router, hash)).state === state, 60_000);
}
