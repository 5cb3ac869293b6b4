// opencode's page after a break in its connection: everything that it missed appears without a reload.

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { test } from "node:test";
import { screenshot, startBrowser } from "../fixtures/browser.mjs";
import { eventually, gate } from "../fixtures/gate.mjs";
import { startModel } from "../fixtures/model.mjs";
import { startNetwork } from "../fixtures/network.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import { temporaryFolder } from "../fixtures/paths.mjs";
import { startOpencode, startReplica } from "../fixtures/replicas.mjs";
import { get } from "../fixtures/router.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

/** The page waits up to as long as the break took before it connects again, and 30 s at most. */
const RECONNECT = { timeout: 60_000 };

test("an answer that went on while the network was down is complete without a reload", { timeout: 120_000 }, async () => {
  let app;
  let page;
  const network = await startNetwork(() => app.router.port);
  try {
    app = await startTestApp("replay", { ROUTER_DOMAIN: `localhost:${network.port}` });
    const front = { url: `http://localhost:${network.port}`, port: app.router.port };
    app.git.make("widgets");
    const hold = gate();
    app.model.script({ when: "Count", say: "One, two, ", hold, then: "three, four." });
    page = await app.browser.page();
    const drawsAnswers = opencode.drawsAnswers(page);
    await site.openHome(page, front);
    const hash = await site.createSession(page, { repository: app.git.url("widgets"), branch: "main" });
    await opencode.waitForSession(page, site.hostOf(hash, front));
    await opencode.sendPrompt(page, "Count");
    await opencode.waitForAnswer(page, "One, two,");
    await drawsAnswers;

    const loads = countLoads(page);
    network.cut();
    hold.open();
    await eventually("the agent is done", async () => (await site.getSession(front, hash)).busy === false);
    await new Promise((done) => setTimeout(done, Number(process.env.NETWORK_DOWN_MS ?? 0)));
    assert.equal(await opencode.hasAnswered(page, "three"), false, "the network is down");
    network.restore();
    await opencode.waitForAnswer(page, "One, two, three, four.", RECONNECT);
    await opencode.assertPrompts(page, ["Count"]);
    await opencode.sendPrompt(page, "And now?");
    await opencode.waitForAnswer(page, "Answer to: And now?");
    assert.equal(loads.count, 0);
    await screenshot(page, "replay-network");
  } catch (error) {
    if (page) await screenshot(page, "replay-network-failed").catch(() => {});
    throw error;
  } finally {
    await app?.end();
    await network.close();
  }
});

test("an answer is complete on another replica, after a restart, and after more than a router keeps", { timeout: 180_000 }, async () => {
  const folder = temporaryFolder();
  const endings = [() => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })];
  const started = async (starting, end = (it) => it.stop()) => {
    const it = await starting;
    endings.push(() => end(it));
    return it;
  };
  let page;
  try {
    const model = await started(startModel(), (it) => it.close());
    const server = await started(startOpencode(folder, model.configuration));
    const status = () => get(server.port, `localhost:${server.port}`, "/session/status");
    const isIdle = async () => Object.keys(JSON.parse((await status()).body)).length === 0;
    let replica;
    const network = await started(startNetwork(() => replica.port), (it) => it.close());
    const domain = `localhost:${network.port}`;
    const first = await started(startReplica(server.address, domain));
    const second = await started(startReplica(server.address, domain));
    replica = first;
    const browser = await started(startBrowser(), (it) => it.close());
    page = await browser.page();
    const drawsAnswers = opencode.drawsAnswers(page);
    await page.goto(`http://${domain}/session/${first.hash}`);
    await opencode.waitForSession(page, `${first.hash}.${domain}`);
    const loads = countLoads(page);

    // Another replica replays the very events: words of an answer that is not finished are nowhere else.
    const [hold, finish] = [gate(), gate()];
    model.script({ when: "Count", say: "One, two, ", hold, then: "three, ", more: [{ hold: finish, say: "four." }] });
    await opencode.sendPrompt(page, "Count");
    await opencode.waitForAnswer(page, "One, two,");
    await drawsAnswers;
    network.cut();
    hold.open();
    replica = second;
    network.restore();
    await opencode.waitForAnswer(page, "One, two, three,", RECONNECT);
    finish.open();
    await opencode.waitForAnswer(page, "One, two, three, four.");

    // A router that restarts knows nothing of what was before. It sends the conversation.
    const again = gate();
    model.script({ when: "Once more", say: "Five, six, ", hold: again, then: "seven." });
    await opencode.sendPrompt(page, "Once more");
    await opencode.waitForAnswer(page, "Five, six,");
    await second.stop();
    again.open();
    await eventually("the agent is done", isIdle);
    replica = await started(startReplica(server.address, domain));
    await opencode.waitForAnswer(page, "Five, six, seven.", RECONNECT);
    await opencode.sendPrompt(page, "And now?");
    await opencode.waitForAnswer(page, "Answer to: And now?");

    // It restarts in the middle of an answer, which goes on while it is down, and after the page is back.
    const [whileDown, whenBack] = [gate(), gate()];
    model.script({ when: "In the middle", say: "Eight, ", hold: whileDown, then: "nine, ", more: [{ hold: whenBack, say: "ten." }] });
    const said = await started(followEvents(server.port), (it) => it.close());
    await opencode.sendPrompt(page, "In the middle");
    await opencode.waitForAnswer(page, "Eight,");
    await replica.stop();
    whileDown.open();
    await eventually("opencode says more while no router runs", () => said.text().includes("nine,"));
    const back = page.waitForResponse((response) => response.url().endsWith("/global/event") && response.ok(), RECONNECT);
    replica = await started(startReplica(server.address, domain));
    await back;
    whenBack.open();
    await opencode.waitForAnswer(page, "Eight, nine, ten.", RECONNECT);
    await opencode.sendPrompt(page, "And then?");
    await opencode.waitForAnswer(page, "Answer to: And then?");

    // So does a router that missed nothing, but does not keep that much.
    const flood = gate();
    model.script({ when: "Flood", say: "Begin ", hold: flood, then: `${"word ".repeat(5_000)}end.` });
    const missed = await started(followEvents(server.port), (it) => it.close());
    await opencode.sendPrompt(page, "Flood");
    await opencode.waitForAnswer(page, "Begin");
    network.cut();
    flood.open();
    await eventually("the agent is done", isIdle, 60_000);
    await eventually("more was sent than is kept", () => missed.text().length > 1024 * 1024, 60_000);
    network.restore();
    await opencode.waitForAnswer(page, "word end.", RECONNECT);
    assert.equal(loads.count, 0);
    await screenshot(page, "replay-replicas");
  } catch (error) {
    if (page) await screenshot(page, "replay-replicas-failed").catch(() => {});
    throw error;
  } finally {
    for (const end of endings.reverse()) await end();
  }
});

/** Counts how often the page loads from now on. */
function countLoads(page) {
  const loads = { count: 0 };
  page.on("load", () => loads.count++);
  return loads;
}

/** Keeps the text of opencode's events from now on. */
async function followEvents(port) {
  const aborter = new AbortController();
  const response = await fetch(`http://127.0.0.1:${port}/global/event`, { signal: aborter.signal });
  let text = "";
  const decoder = new TextDecoder();
  const reading = (async () => {
    for await (const chunk of response.body) text += decoder.decode(chunk, { stream: true });
  })().catch(() => {});
  return {
    text: () => text,
    async close() {
      aborter.abort();
      await reading;
    },
  };
}
