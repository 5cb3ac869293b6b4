// A user's secrets: set in the page of settings, and seen by the session that starts afterwards.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { assertAccessible, assertNoErrors, DESKTOP, inspect, PHONE, screenshot } from "../fixtures/browser.mjs";
import { eventually } from "../fixtures/gate.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

const VALUE = "s3cr3t-of-the-journey";

let app;
before(async () => (app = await startTestApp("secrets")));
after(() => app?.end());

const parts = (page, de = false) => ({
  name: page.getByRole("textbox", { name: "Name" }),
  value: page.getByLabel(de ? "Wert" : "Value"),
  set: page.getByRole("button", { name: de ? "Setzen" : "Set", exact: true }),
  names: page.getByRole("list", { name: de ? "Geheimnisse" : "Secrets" }).locator("code"),
  failure: page.getByRole("alert"),
  announced: (text) => page.getByRole("status").getByText(text),
});

/** Pastes a text into a field, as a user does. */
async function paste(page, field, text) {
  await field.focus();
  await field.evaluate((element, text) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", text);
    const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
    if (element.dispatchEvent(event)) document.execCommand("insertText", false, text);
  }, text);
}

const names = async () => (await site.api(app.router, "GET", "/user/secret")).json.keys;

test("a secret that is set in the page is in the environment of the next session", { timeout: 120_000 }, async () => {
  const page = await app.browser.page();
  await site.openHome(page, app.router);
  await page.getByRole("link", { name: "Settings" }).click();
  const form = parts(page);
  await page.getByText("You have no secrets yet.").waitFor();
  await inspect(page, "settings-empty");

  // By the keyboard alone.
  await form.name.focus();
  await page.keyboard.type("JOURNEY_TOKEN");
  await page.keyboard.press("Tab");
  await page.keyboard.type(VALUE);
  await page.keyboard.press("Enter");
  await form.announced("JOURNEY_TOKEN is set.").waitFor({ state: "attached" });
  assert.deepEqual(await form.names.allInnerTexts(), ["JOURNEY_TOKEN"]);
  assert.equal(await form.name.evaluate((element) => element === document.activeElement), true, "the next name can be typed");
  assert.equal((await page.content()).includes(VALUE), false);
  assert.deepEqual([await form.name.inputValue(), await form.value.inputValue()], ["", ""]);

  // A name that would break sessions is refused, and nothing is lost that was typed.
  await form.name.fill("LD_PRELOAD");
  await form.value.fill("/evil.so");
  await form.set.click();
  await page.getByText("LD_PRELOAD could break a session").waitFor();
  assert.equal(await form.value.inputValue(), "/evil.so");
  await form.name.fill("no name");
  await form.set.click();
  await page.getByText("A name has letters, digits and underscores").waitFor();
  await inspect(page, "settings-refused", ["light", "phone"]);
  assert.deepEqual(await names(), ["JOURNEY_TOKEN"]);

  // A key with several lines keeps them.
  await form.name.fill("DEPLOY_KEY");
  await paste(page, form.value, "-----BEGIN KEY-----\nYWJj\n-----END KEY-----\n");
  await page.getByText("4 lines").waitFor();
  await form.set.click();
  await form.announced("DEPLOY_KEY is set.").waitFor({ state: "attached" });

  // The content of a .env file.
  await paste(page, form.name, `# mine\nexport A_KEY="two words"\nB_KEY=2\nJOURNEY_TOKEN=${VALUE}\nnonsense\n`);
  const dialog = page.getByRole("dialog");
  await dialog.getByText("Lines that set nothing are left out: 5").waitFor();
  await inspect(page, "settings-paste", ["light", "phone-dark"]);
  await dialog.getByRole("checkbox", { name: "B_KEY" }).uncheck();
  await dialog.getByRole("button", { name: "Set 2 secrets" }).click();
  await form.announced("2 secrets are set.").waitFor({ state: "attached" });
  assert.deepEqual(await names(), ["A_KEY", "DEPLOY_KEY", "JOURNEY_TOKEN"]);
  await inspect(page, "settings");

  // The file is for its owner alone.
  const { email } = (await site.api(app.router, "GET", "/sessions")).json;
  const digest = createHash("sha256").update(email).digest("hex").slice(0, 12);
  const file = join(app.folder, "state", "user-secrets", `${digest}.json`);
  assert.equal(statSync(file).mode & 0o777, 0o600);

  const { json } = await site.api(app.router, "POST", "/sessions", { body: {} });
  const host = site.hostOf(json.hash, app.router);
  const { url } = await eventually("the session is running", async () => {
    const session = await site.getSession(app.router, json.hash);
    assert.notEqual(session.state, "failed", JSON.stringify(session.reason));
    return session.state === "running" && session;
  }, 60_000);
  await page.goto(url);
  await opencode.waitForSession(page, host);
  await opencode.waitForSession(page, host);
  const terminal = await opencode.openTerminal(page);
  await terminal.run('echo "[$JOURNEY_TOKEN|$A_KEY|$B_KEY]"', `[${VALUE}|two words|]`);
  await terminal.run('printf %s "$DEPLOY_KEY" | wc -l | sed s/^/lines:/', "lines:3");
  await page.context().close();
  assert.equal(readFileSync(join(app.folder, "router.log"), "utf8").includes(VALUE), false, "no value is in the log");
  assertNoErrors(page);
});

test("two tabs lose nothing, and secrets are deleted one by one or all", { timeout: 60_000 }, async () => {
  await site.api(app.router, "POST", "/user/secret", { body: { secrets: { FIRST: "1", SECOND: "2" } } });
  const [one, other] = [await app.browser.page({ size: PHONE }), await app.browser.page({ size: DESKTOP, language: "de-DE" })];
  for (const page of [one, other]) await page.goto(`${app.router.url}/settings`);
  const [english, german] = [parts(one), parts(other, true)];
  await german.names.getByText("SECOND").waitFor();
  await english.names.getByText("SECOND").waitFor();

  // Each tab sets one, without knowing of the other's.
  for (const [form, name] of [[english, "FROM_ONE"], [german, "FROM_OTHER"]]) {
    await form.name.fill(name);
    await form.value.fill("x");
    await form.set.click();
    await form.names.getByText(name).waitFor();
  }
  assert.deepEqual(await names(), ["FIRST", "FROM_ONE", "FROM_OTHER", "SECOND"]);
  await inspect(other, "settings-german", ["dark", "phone"]);

  await other.getByRole("button", { name: "FIRST löschen" }).click();
  const dialog = other.getByRole("alertdialog");
  await dialog.getByText("FIRST löschen?").waitFor();
  await screenshot(other, "settings-delete-german");
  assert.equal(await dialog.getByRole("button", { name: "Abbrechen" }).evaluate((element) => element === document.activeElement), true);
  await dialog.getByRole("button", { name: "Löschen" }).click();
  await german.names.getByText("FIRST").waitFor({ state: "detached" });
  await german.name.fill("PATH");
  await german.value.fill("x");
  await german.set.click();
  await other.getByText("PATH könnte eine Sitzung stören").waitFor();

  // The other tab still shows it; deleting it there is no error.
  await one.getByRole("button", { name: "Delete FIRST" }).click();
  await one.getByRole("alertdialog").getByRole("button", { name: "Delete" }).click();
  await english.names.getByText("FIRST").waitFor({ state: "detached" });
  await english.names.getByText("FROM_OTHER").waitFor();
  assert.equal(await english.name.evaluate((element) => element === document.activeElement), true, "the focus is not lost");

  await one.getByRole("button", { name: "Delete all" }).click();
  await one.keyboard.press("Escape");
  assert.deepEqual(await names(), ["FROM_ONE", "FROM_OTHER", "SECOND"]);
  await one.getByRole("button", { name: "Delete all" }).click();
  await inspect(one, "settings-delete-all", ["light", "phone"]);
  await one.getByRole("alertdialog").getByRole("button", { name: "Delete" }).click();
  await one.getByText("You have no secrets yet.").waitFor();
  assert.deepEqual(await names(), []);
  for (const page of [one, other]) {
    assertNoErrors(page);
    await page.context().close();
  }
});

test("axe finds nothing on the pages of settings", () => assertAccessible());
