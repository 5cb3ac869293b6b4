// A session that begins with a message: it is being answered when its page opens, and it is sent exactly once.

import assert from "node:assert/strict";
import { test } from "node:test";
import { picture } from "../fixtures/browser.mjs";
import { eventually, gate } from "../fixtures/gate.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import { opencodesOf } from "../fixtures/processes.mjs";
import * as site from "../fixtures/site.mjs";
import { startWorld } from "../fixtures/world.mjs";

const MESSAGE = "Make a file called made.txt";

test("the first message is being answered when the page opens, and is sent once", { timeout: 120_000 }, async () => {
  const world = await startWorld("first-message");
  let page;
  try {
    const { git, model, browser, router } = world;
    git.make("widgets");
    const hold = gate();
    model.script({ when: MESSAGE, tool: { name: "bash", arguments: { command: "echo made > made.txt", description: "Makes a file" } }, say: "I have ", hold, then: "made it." });

    page = await browser.page();
    await site.home(page, router);
    const hash = await site.create(page, { repository: git.url("widgets"), branch: "main", message: MESSAGE });
    const host = site.hostOf(hash, router);
    await opencode.arrives(page, host);
    await opencode.answers(page, "I have");
    await opencode.assertAsked(page, [MESSAGE]);
    assert.equal((await site.session(router, hash)).busy, true);
    hold.open();
    await opencode.answers(page, "I have made it.");
    const list = await browser.page();
    await site.home(list, router);
    await site.row(list, hash).getByText("A title from the model").waitFor();
    await list.context().close();
    assert.equal((await site.session(router, hash)).description, MESSAGE);

    // Stopped and resumed, then a router that was killed and started again: it is not sent again.
    assert.equal((await site.api(router, "POST", `/sessions/${hash}/stop`)).status, 200);
    await eventually("it has stopped", async () => (await site.session(router, hash)).state === "stopped");
    assert.equal((await site.api(router, "POST", `/sessions/${hash}/resume`)).status, 200);
    await eventually("it runs again", async () => (await site.session(router, hash)).state === "running");
    const before = opencodesOf(router.pid);
    assert.equal(before.length, 1);
    await router.stop("SIGKILL");
    await world.restartRouter({ PORT: String(router.port) });
    assert.equal((await site.session(world.router, hash)).state, "stopped", "the leftovers of the killed router do not count as running");
    await eventually("the killed router's opencode has ended", () => before.every((pid) => !alive(pid)));
    assert.equal((await site.api(world.router, "POST", `/sessions/${hash}/resume`)).status, 200);
    const { url } = await eventually("it runs once more", async () => {
      const it = await site.session(world.router, hash);
      return it.state === "running" && it;
    });
    await page.goto(url);
    await opencode.arrives(page, host);
    await opencode.answers(page, "I have made it.");
    await opencode.assertAsked(page, [MESSAGE]);
    assert.deepEqual(model.prompts, [MESSAGE]);
  } catch (error) {
    if (page) await picture(page, "first-message-failed").catch(() => {});
    throw error;
  } finally {
    await world.end();
  }
});

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
