// The remaining pages and states: a missing page, an unreachable router, another language, the keyboard.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertAccessible, assertNoErrors, inspect, screenshot } from "../fixtures/browser.mjs";
import { get } from "../fixtures/router.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

let app;
before(async () => (app = await startTestApp("screens")));
after(() => app?.end());

test("a missing page links to the home page", async () => {
  const page = await app.browser.page();
  await page.goto(`${app.router.url}/no/such/page`);
  const home = site.homeLink(page);
  await home.waitFor();
  await inspect(page, "not-found");
  await home.click();
  await site.composer(page).repository.waitFor();
  assertNoErrors(page);
  await page.context().close();
});

test("a host name outside the domain gets 421", async () => {
  assert.equal((await get(app.router.port, "example.com", "/")).status, 421);
});

test("a bar is shown while the router is unreachable", { timeout: 60_000 }, async () => {
  const page = await app.browser.page();
  await site.openHome(page, app.router);
  const { port } = app.router;
  await app.router.stop();
  const bar = page.getByText("The router does not answer");
  await bar.waitFor();
  await inspect(page, "offline");
  await app.restartRouter({ PORT: String(port) });
  await bar.waitFor({ state: "hidden" });
  await screenshot(page, "online-again");
  await page.context().close();
});

test("nothing is animated if the user prefers reduced motion", async () => {
  const page = await app.browser.page();
  await site.openHome(page, app.router);
  const moving = await page.evaluate(() => {
    const styles = [...document.querySelectorAll("*")].map((element) => [element, getComputedStyle(element)]);
    return styles.filter(([, style]) => /[1-9]/.test(style.transitionDuration + style.animationDuration)).map(([element]) => element.outerHTML.slice(0, 80));
  });
  assert.deepEqual(moving, []);
  await page.context().close();
});

test("a German browser gets the German site", async () => {
  const page = await app.browser.page({ language: "de-DE" });
  await page.goto(`${app.router.url}/`);
  await page.locator("html[lang=de]").waitFor({ state: "attached" });
  await page.getByText(/Sitzungen/).first().waitFor();
  await inspect(page, "home-german");
  assertNoErrors(page);
  await page.context().close();
});

test("? lists the keyboard shortcuts, and / focuses the repository field", async () => {
  const page = await app.browser.page();
  await site.openHome(page, app.router);
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press("?");
  await page.getByRole("dialog").waitFor();
  await inspect(page, "keys");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await page.keyboard.press("/");
  assert.equal(await site.composer(page).repository.evaluate((element) => element === document.activeElement), true);
  await page.context().close();
});

test("all these pages are accessible and fit the window", assertAccessible);
