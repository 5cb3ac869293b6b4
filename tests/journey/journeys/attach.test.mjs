// opencode attach: a token from the page, the real opencode in a terminal, wrong and revoked tokens.

import assert from "node:assert/strict";
import http from "node:http";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { PHONE, assertAccessible, assertNoErrors, inspect, screenshot } from "../fixtures/browser.mjs";
import { eventually } from "../fixtures/gate.mjs";
import { get, opencodeProgram } from "../fixtures/router.mjs";
import * as site from "../fixtures/site.mjs";
import { openTerminal, runProgram } from "../fixtures/terminal.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

test("a session is continued in a terminal", { timeout: 180_000 }, async (t) => {
  const app = await startTestApp("attach");
  const { router, model, browser } = app;
  const opencode = await opencodeProgram();
  // The terminal is another machine's: its opencode has data of its own, and not the session's folder.
  const cwd = join(app.folder, "elsewhere");
  mkdirSync(cwd);
  const env = {
    PATH: `${dirname(opencode)}:${process.env.PATH}`,
    HOME: router.home,
    XDG_DATA_HOME: join(cwd, "data"),
    XDG_STATE_HOME: join(cwd, "state"),
    XDG_CACHE_HOME: join(cwd, "cache"),
    LANG: "C.UTF-8",
    OPENCODE_DISABLE_MODELS_FETCH: "1",
    OPENCODE_DISABLE_AUTOUPDATE: "1",
    OPENCODE_DISABLE_LSP_DOWNLOAD: "1",
  };
  // Names below localhost do not resolve everywhere; the page's command names the router as proxy.
  const viaRouter = { ...env, HTTP_PROXY: router.url, NO_PROXY: "" };
  let failed = false;
  let page;
  let terminal;
  let hash;
  let token;
  let command;
  const attachHost = () => `attach-${hash}.${new URL(router.url).host}`;
  const authorization = (password) => `Basic ${Buffer.from(`opencode:${password}`).toString("base64")}`;
  const attached = (password, path = "/session") => get(router.port, attachHost(), path, { headers: { authorization: authorization(password) } });
  const run = (password, prompt) =>
    runProgram(opencode, ["run", "--attach", `http://${attachHost()}`, "--password", password, prompt], { cwd, env: viaRouter });
  const stateOf = async () => (await site.getSession(router, hash)).state;
  const step = (name, run) =>
    t.test(name, { skip: failed && "an earlier step failed" }, async () => {
      try {
        await run();
      } catch (error) {
        failed = true;
        await screenshot(page, "attach-failed").catch(() => {});
        console.error(`The terminal shows:\n${terminal?.text().slice(-1500)}\nThe router's log ends:\n${router?.log().slice(-3000)}`);
        throw error;
      }
    });
  const openDialog = async (on, button, item) => {
    await site.row(on, hash).hover();
    await site.row(on, hash).getByRole("button", { name: button }).click();
    await on.getByRole("menuitem", { name: item }).click();
    return on.getByRole("dialog");
  };

  try {
    await step("the page creates a token, by keyboard alone, and shows the whole command", async () => {
      const made = await site.api(router, "POST", "/sessions", { body: { initialMessage: "say hello" } });
      hash = made.json.hash;
      await eventually("the session runs", async () => (await stateOf()) === "running", 60_000);
      page = await browser.page();
      await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
      await site.openHome(page, router);
      await site.row(page, hash).getByRole("button", { name: /^more actions for/i }).focus();
      await page.keyboard.press("Enter");
      await page.getByRole("menuitem", { name: "Attach a terminal…" }).focus();
      await page.keyboard.press("Enter");
      const dialog = page.getByRole("dialog");
      // It is seen a moment before it has the focus, which the menu has until then.
      await dialog.getByRole("textbox", { name: "Name of the token" }).and(page.locator(":focus")).waitFor();
      await page.keyboard.type("my laptop");
      await page.keyboard.press("Enter");
      command = await dialog.locator("[data-command]").innerText();
      token = command.match(/--password (\S+)/)[1];
      assert.match(token, /^ocattach_[\w-]{43}$/);
      const { attachUrl } = await site.getSession(router, hash);
      assert.match(command, new RegExp(`opencode attach ${attachUrl} .* --session ses_\\w+$`));
      // The focus is on the button that copies the command.
      await page.keyboard.press("Enter");
      await eventually("the command is copied", async () => (await page.evaluate(() => navigator.clipboard.readText())) === command);
      await dialog.getByText("my laptop").waitFor();
      await inspect(page, "attach");
      assertNoErrors(page);
      await page.keyboard.press("Escape");
      await dialog.waitFor({ state: "detached" });
    });

    await step("the token is shown once, and stored nowhere", async () => {
      const dialog = await openDialog(page, /^more actions for/i, "Attach a terminal…");
      await dialog.getByText("my laptop").waitFor();
      assert.equal(await dialog.locator("[data-command]").count(), 0);
      assert.ok(!(await site.api(router, "GET", `/sessions/${hash}/attach-info`)).body.includes(token));
      await page.keyboard.press("Escape");
      const found = await runProgram("grep", ["-rlF", token, router.stateDir], { cwd, env });
      assert.deepEqual([found.code, found.output], [1, ""], "the token is in the state folder");
    });

    await step("the dialog is German on a German phone", async () => {
      const german = await browser.page({ language: "de-DE", size: PHONE });
      await german.goto(`${router.url}/`);
      await site.row(german, hash).waitFor();
      const dialog = await openDialog(german, /^Weitere Aktionen/i, "Terminal verbinden …");
      await dialog.getByRole("button", { name: "Token erstellen" }).waitFor();
      await dialog.getByText("Gültige Tokens").waitFor();
      await inspect(german, "attach-german", ["phone", "phone-dark"]);
      await german.context().close();
    });

    await step("the command opens the conversation in a terminal, and its prompt is answered", async () => {
      terminal = openTerminal(command, { cwd, env });
      await eventually("the terminal shows the conversation", () => terminal.dense().includes("Answerto:sayhello"), 30_000);
      terminal.type("say it in the terminal");
      await eventually("the prompt is typed", () => terminal.dense().includes("sayitintheterminal"));
      terminal.type("\r");
      await eventually("the model got the prompt", () => model.prompts.includes("say it in the terminal"), 30_000);
      await eventually("the terminal shows the answer", () => terminal.dense().includes("Answerto:sayitintheterminal"), 30_000);
    });

    await step("a wrong token is refused", async () => {
      const { code, output } = await run("ocattach_wrong", "say nothing");
      assert.notEqual(code, 0, output);
      assert.ok(!model.prompts.some((prompt) => prompt.includes("say nothing")));
      const refused = await attached("ocattach_wrong");
      assert.equal(refused.status, 401);
      assert.match(refused.headers["www-authenticate"], /^Basic /);
    });

    await step("a revoked token ends what is open, and lets nothing in", async () => {
      const stream = new Promise((done, fail) => {
        const request = http.get({ host: "127.0.0.1", port: router.port, path: "/global/event", headers: { host: attachHost(), authorization: authorization(token) } }, (response) => {
          response.resume();
          response.once("data", () => done({ response, cut: new Promise((end) => response.once("close", () => end(!response.complete))) }));
        });
        request.once("error", fail);
      });
      const { cut } = await stream;
      const dialog = await openDialog(page, /^more actions for/i, "Attach a terminal…");
      await dialog.getByRole("button", { name: "Revoke: my laptop" }).click();
      await dialog.getByText("my laptop").waitFor({ state: "detached" });
      await page.keyboard.press("Escape");
      assert.equal(await cut, true);
      assert.equal((await attached(token)).status, 401);
      terminal.type("say it once more\r");
      const { code } = await run(token, "say it once more");
      assert.notEqual(code, 0);
      assert.ok(!model.prompts.includes("say it once more"), "a prompt went through with a revoked token");
    });

    await step("opencode run --attach is answered, and wakes a stopped session", async () => {
      const created = await site.api(router, "POST", `/sessions/${hash}/attach-tokens`, { body: { name: "script", expiresInDays: 1 } });
      assert.equal(created.status, 201);
      await site.api(router, "POST", `/sessions/${hash}/stop`);
      await eventually("the session is stopped", async () => (await stateOf()) === "stopped", 30_000);
      assert.equal((await attached("ocattach_wrong")).status, 401);
      assert.equal(await stateOf(), "stopped", "a wrong token wakes nothing");
      const { code, output } = await run(created.json.token, "say it after the stop");
      assert.equal(code, 0, output);
      assert.match(output, /Answer to: "?say it after the stop/);
      assert.equal(await stateOf(), "running");
    });

    await t.test("all these pages are accessible and fit the window", assertAccessible);
  } finally {
    await terminal?.close();
    await app.end();
  }
});
