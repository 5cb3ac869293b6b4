// opencode's page in a cluster with two routers: after a break it misses nothing, whichever router it
// reaches. Its conversation is longer than what the page loads at first (20 messages), and than what a router
// asks for at once (50).

import assert from "node:assert/strict";
import { test } from "node:test";
import { screenshot } from "../../journey/fixtures/browser.mjs";
import { eventually, gate } from "../../journey/fixtures/gate.mjs";
import * as opencode from "../../journey/fixtures/opencode-page.mjs";
import * as site from "../../journey/fixtures/site.mjs";
import { inPod, kubectl, request, routers, routersLog } from "./cluster.mjs";
import { as, startWorld, stepper } from "./world.mjs";

const ANN = "ann@example.com";
/** The page waits up to as long as the break took before it connects again, and 30 s at most. */
const RECONNECT = { timeout: 60_000 };

test("opencode's page survives the loss of a router", { timeout: 600_000 }, async (t) => {
  let world;
  let page;
  let hash;
  let drawsAnswers;
  let loads = 0;
  const step = stepper(t, async () => {
    if (page) await screenshot(page, "cluster-replay-failed").catch(() => {});
    console.error(`At ${page?.url()}; the routers' log ends:\n${(await routersLog()).slice(-4000)}`);
  });
  const readyRouters = () =>
    eventually("two routers are ready", async () => {
      const isReady = ({ metadata, status }) => !metadata.deletionTimestamp && status.conditions?.some(({ type, status }) => type === "Ready" && status === "True");
      const ready = (await routers()).filter(isReady);
      return ready.length === 2 && ready;
    }, 120_000);
  const isIdle = async () => (await site.getSession(world.front, hash, as(ANN))).busy === false;
  try {
    await step("A page is open in a session that two routers serve", async () => {
      world = await startWorld({ replicas: 2 });
      await readyRouters();
      world.git.make("widgets");
      hash = await world.create(ANN, { repoUrl: world.git.url("widgets"), branch: "main", initialMessage: "Begin" });
      const { url } = await world.runs(hash, ANN);
      const host = site.hostOf(hash, world.front);
      const messages = `${new URL(url).pathname.replace(/^.*(?=\/session\/)/, "")}/message`;
      for (let n = 1; n <= 30; n++) {
        const prompt = { parts: [{ type: "text", text: `Before ${n}` }] };
        const { status, text } = await request({ host: "127.0.0.1", port: world.front.port }, host, "POST", messages, { ...as(ANN), body: prompt });
        assert.equal(status, 200, text);
      }
      page = await world.page(ANN, host);
      drawsAnswers = opencode.drawsAnswers(page);
      await page.goto(`${world.front.url}/session/${hash}`);
      await opencode.waitForSession(page, host);
      await opencode.waitForAnswer(page, "Answer to: Before 30");
      page.on("load", () => loads++);
    });

    await step("Each router is killed in the middle of an answer, and the other one replays what was said", async () => {
      // The page's stream is at one of the two.
      for (const { metadata } of await readyRouters()) {
        const [hold, finish, prompt] = [gate(), gate(), `Count without ${metadata.name}`];
        world.model.script({ when: prompt, say: `${metadata.name}: one, `, hold, then: "two, ", more: [{ hold: finish, say: "three." }] });
        await opencode.sendPrompt(page, prompt);
        await opencode.waitForAnswer(page, `${metadata.name}: one,`);
        await drawsAnswers;
        await kubectl(["delete", "pod", metadata.name, "--grace-period=0", "--force"]);
        hold.open();
        await opencode.waitForAnswer(page, `${metadata.name}: one, two,`, RECONNECT);
        finish.open();
        await opencode.waitForAnswer(page, `${metadata.name}: one, two, three.`, RECONNECT);
        await readyRouters();
      }
    });

    await step("After a restart of all routers, the answer is complete as well", async () => {
      const hold = gate();
      world.model.script({ when: "Once more", say: "Five, six, ", hold, then: "seven." });
      await opencode.sendPrompt(page, "Once more");
      await opencode.waitForAnswer(page, "Five, six,");
      // Returns when both have ended. A forced deletion returns before, and the page would be told the rest
      // by a router that ends after it.
      await kubectl(["delete", "pods", "--selector=app.kubernetes.io/name=opencode-router", "--grace-period=1", "--wait"]);
      hold.open();
      await eventually("a router answers, and the agent is done", isIdle, 120_000);
      await opencode.waitForAnswer(page, "Five, six, seven.", RECONNECT);
      await opencode.sendPrompt(page, "And now?");
      await opencode.waitForAnswer(page, "Answer to: And now?");
      assert.equal(loads, 0, "the page was loaded again");
      assert.equal(await inPod(hash, "echo", "here"), "here", "the session survived");
      await screenshot(page, "cluster-replay");
    });
  } finally {
    await world?.end();
  }
});
