// The screens between the others: no such page, a router that is away, another language, the keyboard.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertNothingFound, assertQuiet, inspect, picture } from "../fixtures/browser.mjs";
import { get } from "../fixtures/router.mjs";
import * as site from "../fixtures/site.mjs";
import { startWorld } from "../fixtures/world.mjs";

let world;
before(async () => (world = await startWorld("screens")));
after(() => world?.end());

test("a page that is not there says so and shows the way home", async () => {
  const page = await world.browser.page();
  await page.goto(`${world.router.url}/no/such/page`);
  const home = site.wayHome(page);
  await home.waitFor();
  await inspect(page, "not-found");
  await home.click();
  await site.composer(page).repository.waitFor();
  assertQuiet(page);
  await page.context().close();
});

test("a name outside the domain is refused", async () => {
  assert.equal((await get(world.router.port, "example.com", "/")).status, 421);
});

test("while the router is away a bar says so, and it goes by itself", { timeout: 60_000 }, async () => {
  const page = await world.browser.page();
  await site.home(page, world.router);
  const { port } = world.router;
  await world.router.stop();
  const bar = page.getByText("The router does not answer");
  await bar.waitFor();
  await inspect(page, "offline");
  await world.restartRouter({ PORT: String(port) });
  await bar.waitFor({ state: "hidden" });
  await picture(page, "online-again");
  await page.context().close();
});

test("nothing moves for those who asked for that", async () => {
  const page = await world.browser.page();
  await site.home(page, world.router);
  const moving = await page.evaluate(() => {
    const styles = [...document.querySelectorAll("*")].map((element) => [element, getComputedStyle(element)]);
    return styles.filter(([, style]) => /[1-9]/.test(style.transitionDuration + style.animationDuration)).map(([element]) => element.outerHTML.slice(0, 80));
  });
  assert.deepEqual(moving, []);
  await page.context().close();
});

test("a German browser gets German", async () => {
  const page = await world.browser.page({ language: "de-DE" });
  await page.goto(`${world.router.url}/`);
  await page.locator("html[lang=de]").waitFor({ state: "attached" });
  await page.getByText(/Sitzungen/).first().waitFor();
  await inspect(page, "home-german");
  assertQuiet(page);
  await page.context().close();
});

test("the keys are listed by ?, and / leads to the composer", async () => {
  const page = await world.browser.page();
  await site.home(page, world.router);
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press("?");
  await page.getByRole("dialog").waitFor();
  await inspect(page, "keys");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await page.keyboard.press("/");
  assert.equal(await site.composer(page).repository.evaluate((it) => it === document.activeElement), true);
  await page.context().close();
});

test("axe finds nothing on any of these screens, and nothing sticks out", assertNothingFound);
