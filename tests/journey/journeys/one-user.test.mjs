// One session from start to end: created, used, stopped, resumed and deleted by one user.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { assertAccessible, assertNoErrors, inspect, screenshot } from "../fixtures/browser.mjs";
import { eventually, gate } from "../fixtures/gate.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import { opencodePids, filesOf } from "../fixtures/processes.mjs";
import { get } from "../fixtures/router.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

test("a session is created, used, stopped, resumed and deleted", { timeout: 180_000 }, async (t) => {
  const app = await startTestApp("one-user");
  const { git, model, browser } = app;
  let hash;
  let host;
  let page;
  let router;
  let failed = false;
  const step = (name, run) =>
    t.test(name, { skip: failed && "an earlier step failed" }, async () => {
      try {
        await run();
      } catch (error) {
        failed = true;
        await screenshot(page, "one-user-failed").catch(() => {});
        console.error(`At ${page?.url()}; the router's log ends:\n${router?.log().slice(-3000)}`);
        throw error;
      }
    });

  try {
    router = app.router;
    git.make("widgets", { files: { "README.md": "# Widgets\n" }, branches: ["next"], ballast: 6_000_000 });
    page = await browser.page();

    await step("the empty home page has the focus in the repository field", async () => {
      await site.openHome(page, router);
      assert.equal(await site.composer(page).repository.evaluate((element) => element === document.activeElement), true);
      await inspect(page, "home-empty");
    });

    await step("an invalid address is reported before anything is sent", async () => {
      const form = site.composer(page);
      await form.repository.fill("not an address");
      await form.start.click();
      await page.getByText("This is not a repository address").waitFor();
      assert.equal(await form.repository.getAttribute("aria-invalid"), "true");
      assert.equal((await site.api(router, "GET", "/sessions")).json.sessions.length, 0);
    });

    await step("the session's page shows the stages and the clone's progress", async () => {
      hash = await site.createSession(page, { repository: git.url("widgets", "held"), branch: "fix/first" });
      host = site.hostOf(hash, router);
      await page.getByText(/\b[1-9]\d?\s?%/).first().waitFor();
      const { state, url, stages } = await site.getSession(router, hash);
      assert.deepEqual([state, url], ["creating", null]);
      const cloning = stages.find(({ stage }) => stage === "cloning");
      assert.equal(cloning.status, "active");
      assert.ok(cloning.percent > 0 && cloning.percent < 100, `percent is ${cloning.percent}`);
      await inspect(page, "starting");
    });

    await step("the progress is still shown after leaving and returning", async () => {
      await site.openHome(page, router);
      await site.row(page, hash).waitFor();
      await inspect(page, "home-creating");
      await page.goto(`${router.url}/session/${hash}`);
      await page.getByText(/\b[1-9]\d?\s?%/).first().waitFor();
    });

    await step("the page goes to opencode once the session is running", async () => {
      git.release();
      await opencode.waitForSession(page, host);
      assertNoErrors(page);
      await screenshot(page, "opencode");
    });

    await step("a prompt is answered word by word", async () => {
      const hold = gate();
      model.script({ when: "count to four", say: "one two ", hold, then: "three four" });
      await opencode.sendPrompt(page, "count to four");
      await opencode.waitForAnswer(page, "one two");
      assert.equal(await opencode.hasAnswered(page, "three"), false, "the rest is held");

      const list = await browser.page();
      await site.openHome(list, router);
      await site.row(list, hash).getByText(/agent at work/i).waitFor();
      await inspect(list, "home-agent-at-work");

      hold.open();
      await opencode.waitForAnswer(page, "three four");
      await site.row(list, hash).getByText(/agent at work/i).waitFor({ state: "hidden" });
      await inspect(list, "home-running");
      await list.context().close();
    });

    await step("the terminal works and is in the requested branch", async () => {
      const terminal = await opencode.openTerminal(page);
      assert.equal(terminal.url.host, host);
      await terminal.run("echo $((40+2)) answers", "42 answers");
      await terminal.run("git rev-parse --abbrev-ref HEAD; cat README.md", "# Widgets");
      await terminal.run("git branch --show-current | sed s/^/on:/", "on:fix/first");
      await terminal.run("echo precious > note.txt; git status --short | sed s/^/now:/", "now:?? note.txt");
      await screenshot(page, "opencode-terminal");
    });

    await step("the browser sees no password", async () => {
      const { headers } = await get(router.port, host, "/global/health");
      assert.equal(headers["www-authenticate"], undefined);
      const [pid] = opencodePids(router.pid);
      assert.ok(pid, "opencode is a child process of the router");
    });

    await step("Stop ends the process and keeps the files", async () => {
      const list = await browser.page();
      await site.openHome(list, router);
      await site.pressAction(list, hash, "Stop");
      await site.row(list, hash).getByText(/^stopped/i).first().waitFor();
      await eventually("the process has ended", () => opencodePids(router.pid).length === 0);
      assert.equal((await site.getSession(router, hash)).state, "stopped");
      assert.notDeepEqual(filesOf(hash, router.stateDir), []);
      await inspect(list, "home-stopped");
      await list.context().close();
    });

    await step("a page's request to a stopped session gets 503", async () => {
      const asPage = { "sec-fetch-mode": "cors", "sec-fetch-site": "same-origin" };
      const { status, headers, body } = await get(router.port, host, "/session", { headers: asPage });
      assert.equal(status, 503);
      assert.match(headers["retry-after"], /^\d+$/);
      assert.match(JSON.parse(body).code, /^[a-z_]+$/);
    });

    await step("the stopped session's page offers to resume it", async () => {
      page = await browser.page();
      await page.goto(`${router.url}/session/${hash}`);
      await page.getByRole("button", { name: "Resume" }).waitFor();
      await inspect(page, "stopped");
    });

    await step("Resume keeps the conversation and the uncommitted file", async () => {
      await page.getByRole("button", { name: "Resume" }).click();
      await opencode.waitForSession(page, host);
      await opencode.waitForAnswer(page, "one two three four");
      await opencode.assertPrompts(page, ["count to four"]);
      const terminal = await opencode.openTerminal(page);
      await terminal.run("sed s/^/kept:/ note.txt", "kept:precious");
    });

    await step("the delete dialog names the unsaved work, and focuses Cancel", async () => {
      await site.openHome(page, router);
      const dialog = await site.openDeleteDialog(page, hash);
      await dialog.getByText("1 file has uncommitted changes.").waitFor();
      assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Cancel");
      await inspect(page, "delete-dialog");
      await dialog.getByRole("button", { name: "Cancel" }).click();
      await dialog.waitFor({ state: "hidden" });
      assert.equal((await site.getSession(router, hash)).state, "running");
    });

    await step("Delete removes the folder and the process", async () => {
      const dialog = await site.openDeleteDialog(page, hash);
      await dialog.getByRole("button", { name: "Delete" }).click();
      await site.row(page, hash).waitFor({ state: "detached" });
      await eventually("process and folder are removed", () => opencodePids(router.pid).length === 0 && filesOf(hash, router.stateDir).length === 0);
      assert.equal((await site.api(router, "GET", `/sessions/${hash}`)).status, 404);
      assert.equal((await get(router.port, host, "/")).status, 404);
    });

    await step("the deleted session's page says that the session does not exist", async () => {
      await page.goto(`${router.url}/session/${hash}`);
      await page.getByText("This session does not exist").waitFor();
      await site.homeLink(page).waitFor();
      await inspect(page, "session-not-found");
      assertNoErrors(page);
    });

    await t.test("all these pages are accessible and fit the window", assertAccessible);

    await step("the router ends on SIGTERM and keeps its state", async () => {
      assert.equal(await router.stop("SIGTERM"), 0);
      assert.equal(existsSync(router.stateDir), true);
    });
  } finally {
    await app.end();
  }
});
