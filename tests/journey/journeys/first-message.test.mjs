// The first message: the answer is in progress when the page opens, and the message is sent exactly once.

import assert from "node:assert/strict";
import { test } from "node:test";
import { screenshot } from "../fixtures/browser.mjs";
import { eventually, gate } from "../fixtures/gate.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import { opencodePids } from "../fixtures/processes.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

const MESSAGE = "Make a file called made.txt";

test("the first message is answered while the page opens, and is sent once", { timeout: 120_000 }, async () => {
  const app = await startTestApp("first-message");
  let page;
  try {
    const { git, model, browser, router } = app;
    git.make("widgets");
    const hold = gate();
    model.script({ when: MESSAGE, tool: { name: "bash", arguments: { command: "echo made > made.txt", description: "Makes a file" } }, say: "I have ", hold, then: "made it." });

    page = await browser.page();
    await site.openHome(page, router);
    const hash = await site.createSession(page, { repository: git.url("widgets"), branch: "main", message: MESSAGE });
    const host = site.hostOf(hash, router);
    await opencode.waitForSession(page, host);
    await opencode.waitForAnswer(page, "I have");
    await opencode.assertPrompts(page, [MESSAGE]);
    assert.equal((await site.getSession(router, hash)).busy, true);
    hold.open();
    await opencode.waitForAnswer(page, "I have made it.");
    const list = await browser.page();
    await site.openHome(list, router);
    await site.row(list, hash).getByText("A title from the model").waitFor();
    await list.context().close();
    assert.equal((await site.getSession(router, hash)).description, MESSAGE);

    // Neither a stop and resume nor a killed and restarted router sends it again.
    assert.equal((await site.api(router, "POST", `/sessions/${hash}/stop`)).status, 200);
    await eventually("the session is stopped", async () => (await site.getSession(router, hash)).state === "stopped");
    assert.equal((await site.api(router, "POST", `/sessions/${hash}/resume`)).status, 200);
    await eventually("the session is running again", async () => (await site.getSession(router, hash)).state === "running");
    const before = opencodePids(router.pid);
    assert.equal(before.length, 1);
    await router.stop("SIGKILL");
    await app.restartRouter({ PORT: String(router.port) });
    assert.equal((await site.getSession(app.router, hash)).state, "stopped", "the killed router's opencode does not count as running");
    await eventually("the killed router's opencode has ended", () => before.every((pid) => !isAlive(pid)));
    assert.equal((await site.api(app.router, "POST", `/sessions/${hash}/resume`)).status, 200);
    const { url } = await eventually("the session is running once more", async () => {
      const session = await site.getSession(app.router, hash);
      return session.state === "running" && session;
    });
    await page.goto(url);
    await opencode.waitForSession(page, host);
    await opencode.waitForAnswer(page, "I have made it.");
    await opencode.assertPrompts(page, [MESSAGE]);
    assert.deepEqual(model.prompts, [MESSAGE]);
  } catch (error) {
    if (page) await screenshot(page, "first-message-failed").catch(() => {});
    throw error;
  } finally {
    await app.end();
  }
});

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
