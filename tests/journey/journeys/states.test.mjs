// A session in every state that it can have, on the site: from `make dev`'s router, whose sessions are in
// memory.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertAccessible, assertNoErrors, inspect, startBrowser } from "../fixtures/browser.mjs";
import { startDevRouter } from "../fixtures/dev-router.mjs";
import { eventually } from "../fixtures/gate.mjs";
import * as site from "../fixtures/site.mjs";

let router;
let browser;
let sessions;
before(async () => {
  router = await startDevRouter();
  browser = await startBrowser();
  // While somebody watches, the router asks opencode every few seconds whether an agent works.
  await site.openHome(await browser.page(), router);
  await eventually("the running sessions are known", async () => {
    ({ sessions } = (await site.api(router, "GET", "/sessions")).json);
    return of("running-busy").busy && of("running-not-answering")?.reason;
  });
});
after(async () => {
  await browser?.close();
  await router?.stop();
});

/** What a failed session's page says; the page has another, empty alert for messages. */
const alert = (page) => page.getByRole("alert").filter({ hasText: /./ });
const of = (branch) => sessions.find((session) => session.branch === branch);

test("the list shows every state", async () => {
  const page = await browser.page();
  await site.openHome(page, router);
  for (const session of sessions) await site.row(page, session.hash).waitFor();
  await inspect(page, "states-list");
  assertNoErrors(page);
  await page.context().close();
});

test("every state has a page that says what happened and what to do", { timeout: 180_000 }, async () => {
  const page = await browser.page();
  for (const session of sessions.filter(({ state }) => state !== "running")) {
    await page.goto(`${router.url}/session/${session.hash}`);
    await page.getByRole("heading", { name: /acme\/widgets/ }).waitFor();
    if (session.state === "failed") await alert(page).waitFor();
    const details = page.getByText("Last lines of the log");
    if (session.reason?.logTail) await details.click();
    await inspect(page, `state-${session.branch}`, ["light", "phone-dark"]);
  }
  assertNoErrors(page);
  await page.context().close();
});

test("every reason is told in German", async () => {
  const page = await browser.page({ language: "de-DE" });
  const english = await browser.page();
  for (const session of sessions.filter(({ state }) => state === "failed")) {
    const told = [];
    for (const reader of [page, english]) {
      await reader.goto(`${router.url}/session/${session.hash}`);
      told.push(await alert(reader).innerText(), await alert(reader).locator("xpath=following-sibling::p[1]").innerText());
    }
    const [message, advice, englishMessage, englishAdvice] = told;
    assert.ok(message && advice, session.branch);
    assert.notEqual(message, englishMessage, session.branch);
    assert.notEqual(advice, englishAdvice, session.branch);
  }
  await page.goto(`${router.url}/session/${of("failed-unschedulable").hash}`);
  await alert(page).waitFor();
  await inspect(page, "state-german", ["light", "phone"]);
  for (const reader of [page, english]) await reader.context().close();
});

test("a stopped session starts, and its page follows", { timeout: 60_000 }, async () => {
  const page = await browser.page();
  const { hash } = of("stopped-idle");
  await page.goto(`${router.url}/session/${hash}`);
  await page.getByRole("button", { name: "Resume" }).click();
  await page.waitForURL((url) => url.hostname.startsWith(hash));
  await page.context().close();
});

test("all these pages are accessible and fit the window", assertAccessible);
