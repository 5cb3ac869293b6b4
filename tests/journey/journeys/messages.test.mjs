// The messages of a session in its row on the home page, live, and what the row says about the agent.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertNoErrors, inspect, screenshot } from "../fixtures/browser.mjs";
import { eventually, gate } from "../fixtures/gate.mjs";
import { get } from "../fixtures/router.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

test("a row unfolds to the latest messages of its session", { timeout: 120_000 }, async () => {
  const app = await startTestApp("messages");
  const { model, browser, router } = app;
  let page;
  try {
    const hold = gate();
    model.script({ when: "count to four", say: "one two ", hold, then: "three four" });
    const made = await site.api(router, "POST", "/sessions", { body: { initialMessage: "count to four <b>loudly</b>" } });
    assert.equal(made.status, 201, made.body);
    const { hash } = made.json;
    const { url } = await eventually("the session is running", async () => {
      const session = await site.getSession(router, hash);
      assert.notEqual(session.state, "failed", JSON.stringify(session.reason));
      return session.state === "running" && session;
    }, 60_000);
    const conversation = url.slice(url.lastIndexOf("/") + 1);
    const host = site.hostOf(hash, router);
    const ask = async (text) => {
      const headers = { origin: `http://${host}`, "content-type": "application/json" };
      const body = JSON.stringify({ parts: [{ type: "text", text }] });
      const answer = await get(router.port, host, `/session/${conversation}/prompt_async`, { method: "POST", headers, body });
      assert.ok(answer.status < 300, `${answer.status} ${answer.body}`);
    };

    page = await browser.page();
    await site.openHome(page, router);
    const row = site.row(page, hash);
    const messages = row.getByRole("region", { name: /^Messages of/ });

    // By keyboard: the arrows walk to the row and unfold it.
    await page.keyboard.press("Escape");
    await page.evaluate(() => document.activeElement?.blur());
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowRight");
    await messages.getByText("count to four <b>loudly</b>", { exact: true }).waitFor();
    assert.equal(await messages.locator("b").count(), 0, "text is text");
    await messages.getByText("one two").waitFor();
    assert.equal(await messages.getByText("three").count(), 0, "the rest is held");
    await row.getByText(/agent at work/i).waitFor();
    await inspect(page, "messages-live");

    hold.open();
    await messages.getByText("one two three four").waitFor();
    await row.getByText(/agent at work/i).waitFor({ state: "hidden" });
    await row.getByText("A title from the model").waitFor();

    // The agent asks; the row says so. Another tab sees the same.
    model.script({ when: "ask me", tool: { name: "question", arguments: { questions: [{ question: "Which one?", header: "Which", options: [{ label: "this", description: "this one" }] }] } }, say: "thanks" });
    await ask("ask me");
    await row.getByText(/agent waits for your answer/i).waitFor();
    await messages.getByText("ask me", { exact: true }).waitFor();

    const german = await browser.page({ language: "de-DE" });
    await german.goto(`${router.url}/`);
    const germanRow = site.row(german, hash);
    await germanRow.getByText(/Agent wartet auf deine Antwort/).waitFor();
    await germanRow.getByRole("button", { name: /^Nachrichten von/ }).click();
    await germanRow.getByRole("region", { name: /^Nachrichten von/ }).getByText("one two three four").waitFor();
    await inspect(german, "messages-german", ["light", "phone"]);
    assertNoErrors(german);
    await german.context().close();

    // Folded by keyboard, and unfolded by the button, which says what it does.
    await row.getByRole("link").focus();
    await page.keyboard.press("ArrowLeft");
    await messages.waitFor({ state: "detached" });
    const button = row.getByRole("button", { name: /^Messages of/ });
    assert.equal(await button.getAttribute("aria-expanded"), "false");
    await button.click();
    await messages.waitFor();
    assert.equal(await button.getAttribute("aria-expanded"), "true");

    // A session that stops has no messages to ask for.
    await site.pressAction(page, hash, "Stop");
    await messages.waitFor({ state: "detached" });
    await row.getByText("Stopped").waitFor();
    assert.equal(await button.count(), 0);
    assertNoErrors(page);
    assertAccessible();
  } catch (error) {
    await screenshot(page, "messages-failed").catch(() => {});
    console.error(`The router's log ends:\n${router.log().slice(-3000)}`);
    throw error;
  } finally {
    await app.end();
  }
});
