// An administrator and a user behind a sign-in proxy: the administrator sees and stops the user's session,
// and reaches nothing that is in it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertAccessible, assertNoErrors, inspect } from "../fixtures/browser.mjs";
import { eventually } from "../fixtures/gate.mjs";
import { get } from "../fixtures/router.mjs";
import { startSignIn } from "../fixtures/sign-in.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

const ROOT = "root@example.com";
const ANN = "ann@example.com";

let app;
let signIn;
let front;
let hash;
const as = (email) => ({ headers: { cookie: `_oauth2_proxy=${encodeURIComponent(email)}` } });
const pageOf = (email, options) => app.browser.page({ ...options, cookies: [{ name: "_oauth2_proxy", value: encodeURIComponent(email), url: front.url }] });

before(async () => {
  signIn = await startSignIn();
  const domain = `localhost:${signIn.port}`;
  app = await startTestApp("administrators", { IDENTITY: "headers", TRUSTED_PROXIES: "127.0.0.1/32", ROUTER_DOMAIN: domain, ADMIN_EMAILS: ROOT });
  signIn.forwardTo(app.router.port);
  front = { url: `http://${domain}`, port: signIn.port };
  ({ hash } = (await site.api(front, "POST", "/sessions", { ...as(ANN), body: {} })).json);
  await eventually("Ann's session is running", async () => (await site.getSession(front, hash, as(ANN))).state === "running", 60_000);
});
after(async () => {
  await app?.end();
  await signIn?.close();
});

test("an administrator finds, reads, stops and deletes another user's session", { timeout: 90_000 }, async () => {
  const page = await pageOf(ROOT);
  await page.goto(`${front.url}/`);
  await page.getByRole("link", { name: "Administration" }).click();
  const row = page.locator(`tr[data-hash="${hash}"]`);
  await row.getByText(ANN).waitFor();
  await row.getByText("Running").waitFor();
  await inspect(page, "admin");

  await page.getByRole("searchbox").fill("nobody");
  await page.getByText("No sessions match your search.").waitFor();
  await page.getByRole("searchbox").fill("ann");
  await row.waitFor();
  await page.getByRole("button", { name: "Owner" }).press("Enter");
  await page.locator('th[aria-sort="ascending"]', { hasText: "Owner" }).waitFor();

  // By keyboard alone.
  await row.getByRole("button", { name: /^Logs: / }).press("Enter");
  await page.getByRole("dialog").getByText("opencode", { exact: false }).first().waitFor();
  await page.keyboard.press("Escape");
  await row.getByRole("button", { name: /^Stop: / }).press("Enter");
  const stop = page.getByRole("alertdialog", { name: "Stop this session?" });
  await stop.getByText(ANN, { exact: false }).waitFor();
  assert.equal(await stop.getByRole("button", { name: "Cancel" }).evaluate((button) => button === document.activeElement), true);
  await inspect(page, "admin-stop", ["light", "phone"]);
  await stop.getByRole("button", { name: "Stop" }).press("Enter");
  await row.getByText("Stopped").waitFor();
  assert.equal((await site.getSession(front, hash, as(ANN))).reason.code, "requested");

  // An administrator is no owner.
  assert.equal((await get(signIn.port, site.hostOf(hash, front), "/", as(ROOT))).status, 404);
  assert.equal((await site.api(front, "GET", `/sessions/${hash}`, as(ROOT))).status, 404);

  await row.getByRole("button", { name: /^Delete: / }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Delete" }).click();
  await row.waitFor({ state: "detached" });
  assert.equal((await site.api(front, "GET", `/sessions/${hash}`, as(ANN))).status, 404);
  assertNoErrors(page);
  await page.context().close();
  for (const action of ["admin_read_logs", "admin_stopped", "admin_deleted"]) {
    assert.ok(app.router.log().includes(action), `no audit line says ${action}`);
  }
});

test("for everybody else there is no such page", async () => {
  const page = await pageOf(ANN);
  await page.goto(`${front.url}/admin`);
  await site.homeLink(page).waitFor();
  assert.equal(await page.getByRole("link", { name: "Administration" }).count(), 0);
  await page.context().close();
});

test("the page is in German for a German browser", async () => {
  const page = await pageOf(ROOT, { language: "de-DE" });
  await page.goto(`${front.url}/admin`);
  await page.getByText("Es gibt keine Sitzungen.").waitFor();
  await inspect(page, "admin-german", ["light", "phone"]);
  await page.context().close();
});

test("all these pages are accessible and fit the window", assertAccessible);
