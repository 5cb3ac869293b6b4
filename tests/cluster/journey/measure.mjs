#!/usr/bin/env node
// Measures how long a session takes in a cluster with the image on the node: from POST to the first byte of
// its page, for a client that follows the session's events, and from opencode's own first answer to that
// byte; and the same for a resume.
//
//   tests/cluster/with node bash -c 'tests/cluster/images load … &&
//     tests/cluster/in-node "$KUBECONFIG" node tests/cluster/journey/measure.mjs [COUNT]'
//
// With TRACE it prints when each session was created and resumed, for a comparison with log/kubelet.log.
//
// Within the cluster's network (in-node), since it asks the Pods as well. TEST_ROUTER_IMAGE and
// TEST_SESSION_IMAGE name the images.

import { eventually } from "../../journey/fixtures/gate.mjs";
import { get } from "../../journey/fixtures/router.mjs";
import * as site from "../../journey/fixtures/site.mjs";
import { calls, isOurs, podOf, tracesOf } from "./cluster.mjs";
import { as, startWorld } from "./world.mjs";

const ANN = "ann@example.com";
const count = Number(process.argv[2] ?? 10);
const world = await startWorld();
const rounds = [];
try {
  world.git.make("widgets", { ballast: 3_000_000 });
  for (let n = 0; n <= count; n++) {
    const round = await once(n);
    // The first session warms the router's connections and the node's page cache.
    if (n) rounds.push(round);
  }
} finally {
  await world.end();
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor((list.length - 1) / 2)];
console.log(`create → first byte of its page, ${rounds.length} sessions, in ms: p50 ${median(rounds.map((it) => it.usable))}, ${Math.min(...rounds.map((it) => it.usable))} to ${Math.max(...rounds.map((it) => it.usable))}`);
for (const stage of Object.keys(rounds[0].stages)) console.log(`  ${stage}: p50 ${median(rounds.map((it) => it.stages[stage]))}`);
console.log(`resume → first byte of its page: p50 ${median(rounds.map((it) => it.resume))}, ${Math.min(...rounds.map((it) => it.resume))} to ${Math.max(...rounds.map((it) => it.resume))}`);
console.log(`opencode's first answer → first byte in the waiting client: p50 ${median(rounds.map((it) => it.usable - it.answers))}`);
console.log(`calls of the API server per create, watches and the Lease apart: p50 ${median(rounds.map((it) => it.asked))}`);
console.log(`delete → all is gone: p50 ${median(rounds.map((it) => it.gone))}`);

async function once(n) {
  const started = Date.now();
  const since = () => Date.now() - started;
  const hash = await world.create(ANN, { repoUrl: world.git.url("widgets"), branch: `b/${n}` });
  const answers = opencodeAnswers(hash).then(since, () => Number.NaN);
  const url = await world.completes(hash, ANN);
  const { status } = await get(world.signIn.port, new URL(url).host, new URL(url).pathname, { headers: { ...as(ANN).headers, accept: "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" } });
  const usable = since();
  if (process.env.TRACE) console.error(`create ${hash} ${new Date(started).toISOString()} ${new Date().toISOString()}`);
  const asked = isOurs ? calls(started).filter(({ verb, resource }) => verb !== "watch" && resource !== "leases").length : NaN;
  if (status !== 200) throw new Error(`the page of ${hash} is answered ${status}`);
  const { stages } = await site.getSession(world.front, hash, as(ANN));
  const round = { usable, asked, answers: await answers, stages: {} };
  for (const { stage, startedAt, endedAt } of stages) round.stages[stage] = startedAt && endedAt ? new Date(endedAt) - new Date(startedAt) : 0;
  round.resume = await resumed(hash);
  const deleted = Date.now();
  await site.api(world.front, "DELETE", `/sessions/${hash}`, as(ANN));
  await eventually("it is gone", async () => (await tracesOf(hash)).length === 0, 60_000);
  return { ...round, gone: Date.now() - deleted };
}

/** Stops the session and resumes it; answers with the time from the resume to the first byte of its page. */
async function resumed(hash) {
  await site.api(world.front, "POST", `/sessions/${hash}/stop`, as(ANN));
  await eventually("its Pod is gone", async () => !(await podOf(hash)), 60_000);
  const started = Date.now();
  if (process.env.TRACE) console.error(`resume ${hash} ${new Date(started).toISOString()}`);
  const answer = await site.api(world.front, "POST", `/sessions/${hash}/resume`, as(ANN));
  if (answer.status !== 200) throw new Error(`resume: ${answer.status} ${answer.body}`);
  const url = await world.completes(hash, ANN);
  const { status } = await get(world.signIn.port, new URL(url).host, new URL(url).pathname, { headers: { ...as(ANN).headers, accept: "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" } });
  if (status !== 200) throw new Error(`the page of ${hash} is answered ${status}`);
  if (process.env.TRACE) console.error(`resumed ${hash} ${new Date().toISOString()}`);
  return Date.now() - started;
}

/** Resolves once the session's opencode answers anything, asked directly, again each 10 ms. */
async function opencodeAnswers(hash) {
  const address = await eventually("its Pod has an address", async () => (await podOf(hash))?.status.podIP, 60_000);
  return eventually("opencode answers", () => fetch(`http://${address}:4096/global/health`, { signal: AbortSignal.timeout(200), headers: { connection: "close" } }), 60_000);
}
