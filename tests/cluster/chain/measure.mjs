// Measures the whole chain; `measure` beside this file starts a cluster and calls it.

import http from "node:http";
import https from "node:https";
import { eventually } from "../../journey/fixtures/gate.mjs";
import { podOf, tracesOf } from "../journey/cluster.mjs";
import { DOMAIN } from "./cloudflare.mjs";
import { cookiesOf, create, reaches, signIn, startWorld } from "./world.mjs";

const ALICE = "alice@example.test";
const count = Number(process.argv[2] ?? 10);
const REQUESTS = 500;

for (const [title, routes] of [["without the operator (everything published by hand)", undefined], ["ROUTES=per-session", "per-session"], ["ROUTES=wildcard", "wildcard"]]) {
  const world = await startWorld({ routes, config: { MAX_STARTS_PER_MINUTE: "0" } });
  try {
    world.git.make("widgets");
    const page = await signIn(world, ALICE);
    const rounds = [];
    // The first session warms connections and the node's page cache.
    for (let n = 0; n <= count; n++) {
      const round = await newSession(world, page, n);
      if (n) rounds.push(round);
    }
    console.log(`\n${title}, ${rounds.length} sessions, ms from POST:`);
    for (const what of ["routed", "usable"]) console.log(`  ${{ routed: "the router answers at the session's host", usable: "opencode answers at the session's host" }[what]}: ${summary(rounds.map((it) => it[what]))}`);
    if (routes) console.log(`  calls of Cloudflare's API per session created and deleted: ${(rounds.reduce((sum, it) => sum + it.calls, 0) / rounds.length).toFixed(1)}`);
    else await overhead(world, page);
  } finally {
    await world.end();
  }
}

/** Creates a session, polls its host, and deletes it. */
async function newSession(world, page, n) {
  const headers = await cookiesOf(page);
  const callsBefore = await callsOf(world);
  const started = Date.now();
  const hash = await create(world, page, { repoUrl: world.git.url("widgets"), branch: `b/${n}` });
  const host = `${hash}.${DOMAIN}`;
  const get = () => world.ask(host, "/global/health", { headers }).catch(() => ({}));
  // Anything of the router's has a request id; before, the name does not resolve or Traefik has no route.
  await eventually("the router answers", async () => (await get()).headers?.["x-request-id"], 60_000);
  const routed = Date.now() - started;
  await eventually("opencode answers", async () => (await get()).status === 200, 60_000);
  const usable = Date.now() - started;
  await world.ask(DOMAIN, `/api/sessions/${hash}`, { method: "DELETE", headers });
  await eventually("it is gone", async () => !(await podOf(hash)) && (await tracesOf(hash)).length === 0, 60_000);
  if (world.cloudflare.state) await eventually("its host is gone", async () => (await world.cloudflare.load()).records.every(({ name }) => name !== host), 60_000);
  return { routed, usable, calls: (await callsOf(world)) - callsBefore };
}

async function callsOf({ cloudflare }) {
  if (!cloudflare.state) return 0;
  return Object.values((await cloudflare.state()).calls).reduce((sum, calls) => sum + calls, 0);
}

/** The same request to a session's opencode, straight to the router's Service and through the chain, in turns. */
async function overhead(world, page) {
  const hash = await create(world, page, { repoUrl: world.git.url("widgets"), branch: "requests" });
  await reaches(world, page, hash, "running");
  const host = `${hash}.${DOMAIN}`;
  const common = { path: "/global/health", method: "GET" };
  const [plain, secure] = [new http.Agent({ keepAlive: true, maxSockets: 1 }), new https.Agent({ keepAlive: true, maxSockets: 1 })];
  const direct = { ...common, ...world.router, agent: plain, headers: { host, "x-auth-request-email": ALICE, "x-router-proxy-secret": world.secret } };
  const chained = { ...common, host: world.edge.address, port: world.edge.port, servername: host, rejectUnauthorized: false, agent: secure, headers: { host, ...(await cookiesOf(page)) } };
  const times = { direct: [], chained: [] };
  for (let n = 0; n < REQUESTS + 20; n++) {
    const [one, other] = [await timed(http, direct), await timed(https, chained)];
    if (n < 20) continue;
    times.direct.push(one);
    times.chained.push(other);
  }
  plain.destroy();
  secure.destroy();
  console.log(`  a request to opencode, ${REQUESTS} each, one after another, in ms:`);
  console.log(`    straight to the router's Service: p50 ${percentile(times.direct, 50).toFixed(2)}, p99 ${percentile(times.direct, 99).toFixed(2)}`);
  console.log(`    through edge, Traefik and oauth2-proxy: p50 ${percentile(times.chained, 50).toFixed(2)}, p99 ${percentile(times.chained, 99).toFixed(2)}`);
}

function timed(protocol, options) {
  const started = performance.now();
  return new Promise((done, failed) => {
    const request = protocol.request(options, (response) => {
      if (response.statusCode !== 200) failed(new Error(`it was answered ${response.statusCode}`));
      response.resume().once("end", () => done(performance.now() - started));
    });
    request.once("error", failed).end();
  });
}

function percentile(list, percent) {
  return list.toSorted((a, b) => a - b)[Math.min(list.length - 1, Math.floor((list.length * percent) / 100))];
}
function summary(list) {
  return `p50 ${percentile(list, 50)}, ${Math.min(...list)} to ${Math.max(...list)}`;
}
