// One person's day: a repository becomes an opencode of their own, is worked in, left, taken up again and thrown away.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { assertNothingFound, assertQuiet, inspect, picture } from "../fixtures/browser.mjs";
import { eventually, gate } from "../fixtures/gate.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import { opencodesOf, tracesOf } from "../fixtures/processes.mjs";
import { get } from "../fixtures/router.mjs";
import * as site from "../fixtures/site.mjs";
import { startWorld } from "../fixtures/world.mjs";

test("a repository becomes one's own opencode, and goes again", { timeout: 180_000 }, async (t) => {
  const world = await startWorld("one-user");
  const { git, model, browser } = world;
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
        await picture(page, "one-user-failed").catch(() => {});
        console.error(`At ${page?.url()}; the router's log ends:\n${router?.log().slice(-3000)}`);
        throw error;
      }
    });

  try {
    router = world.router;
    git.make("widgets", { files: { "README.md": "# Widgets\n" }, branches: ["next"], ballast: 6_000_000 });
    page = await browser.page();

    await step("the home screen says that there is nothing yet, and what to do", async () => {
      await site.home(page, router);
      assert.equal(await site.composer(page).repository.evaluate((it) => it === document.activeElement), true, "one can type at once");
      await inspect(page, "home-empty");
    });

    await step("a wrong address is told under its field before anything is sent", async () => {
      const form = site.composer(page);
      await form.repository.fill("not an address");
      await form.start.click();
      await page.getByText("This is not a repository address").waitFor();
      assert.equal(await form.repository.getAttribute("aria-invalid"), "true");
      assert.equal((await site.api(router, "GET", "/sessions")).json.sessions.length, 0);
    });

    await step("the stages of the start are seen, with how much is cloned", async () => {
      hash = await site.create(page, { repository: git.url("widgets", "held"), branch: "fix/first" });
      host = site.hostOf(hash, router);
      await page.getByText(/\b[1-9]\d?\s?%/).first().waitFor();
      const { state, url, stages } = await site.session(router, hash);
      assert.deepEqual([state, url], ["creating", null]);
      const cloning = stages.find(({ stage }) => stage === "cloning");
      assert.equal(cloning.status, "active");
      assert.ok(cloning.percent > 0 && cloning.percent < 100, `percent is ${cloning.percent}`);
      await inspect(page, "starting");
    });

    await step("leaving and coming back shows the same truth", async () => {
      await site.home(page, router);
      await site.row(page, hash).waitFor();
      await inspect(page, "home-creating");
      await page.goto(`${router.url}/session/${hash}`);
      await page.getByText(/\b[1-9]\d?\s?%/).first().waitFor();
    });

    await step("the page turns into opencode, in the repository, by itself", async () => {
      git.release();
      await opencode.arrives(page, host);
      assertQuiet(page);
      await picture(page, "opencode");
    });

    await step("a prompt is answered word by word", async () => {
      const hold = gate();
      model.script({ when: "count to four", say: "one two ", hold, then: "three four" });
      await opencode.ask(page, "count to four");
      await opencode.answers(page, "one two");
      assert.equal(await opencode.hasAnswered(page, "three"), false, "the rest has not been said yet");

      const list = await browser.page();
      await site.home(list, router);
      await site.row(list, hash).getByText(/agent is working/i).waitFor();
      await inspect(list, "home-agent-at-work");

      hold.open();
      await opencode.answers(page, "three four");
      await site.row(list, hash).getByText(/agent is working/i).waitFor({ state: "hidden" });
      await inspect(list, "home-running");
      await list.context().close();
    });

    await step("a terminal echoes, and stands in the branch asked for", async () => {
      const terminal = await opencode.openTerminal(page);
      assert.equal(terminal.url.host, host);
      await terminal.run("echo $((40+2)) answers", "42 answers");
      await terminal.run("git rev-parse --abbrev-ref HEAD; cat README.md", "# Widgets");
      await terminal.run("git branch --show-current | sed s/^/on:/", "on:fix/first");
      await terminal.run("echo precious > note.txt; git status --short | sed s/^/now:/", "now:?? note.txt");
      await picture(page, "opencode-terminal");
    });

    await step("no password and no way around the session's host is seen by the browser", async () => {
      const { headers } = await get(router.port, host, "/global/health");
      assert.equal(headers["www-authenticate"], undefined);
      const [pid] = opencodesOf(router.pid);
      assert.ok(pid, "opencode is the router's child");
    });

    await step("stopped from the site, its process goes and its files stay", async () => {
      const list = await browser.page();
      await site.home(list, router);
      await site.press(list, hash, "Stop");
      await site.row(list, hash).getByText(/^stopped/i).first().waitFor();
      await eventually("the process has gone", () => opencodesOf(router.pid).length === 0);
      assert.equal((await site.session(router, hash)).state, "stopped");
      assert.notDeepEqual(tracesOf(hash, router.stateDir), []);
      await inspect(list, "home-stopped");
      await list.context().close();
    });

    await step("a program that asks a stopped session is told so", async () => {
      const { status, headers, body } = await get(router.port, host, "/session", { headers: { accept: "application/json" } });
      assert.equal(status, 503);
      assert.match(headers["retry-after"], /^\d+$/);
      assert.match(JSON.parse(body).code, /^[a-z_]+$/);
    });

    await step("a browser that opens the stopped session's host lands on its page", async () => {
      page = await browser.page();
      await page.goto(`http://${host}/`);
      await page.waitForURL(`${router.url}/session/${hash}`);
      await page.getByRole("button", { name: "Resume" }).waitFor();
      await inspect(page, "stopped");
    });

    await step("resumed, the conversation and the uncommitted file are still there", async () => {
      await page.getByRole("button", { name: "Resume" }).click();
      await opencode.arrives(page, host);
      await opencode.answers(page, "one two three four");
      await opencode.assertAsked(page, ["count to four"]);
      const terminal = await opencode.openTerminal(page);
      await terminal.run("sed s/^/kept:/ note.txt", "kept:precious");
    });

    await step("deleting says what is lost, and Cancel has the focus", async () => {
      await site.home(page, router);
      const dialog = await site.askToDelete(page, hash);
      await dialog.getByText("1 file has uncommitted changes.").waitFor();
      assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Cancel");
      await inspect(page, "delete-dialog");
      await dialog.getByRole("button", { name: "Cancel" }).click();
      await dialog.waitFor({ state: "hidden" });
      assert.equal((await site.session(router, hash)).state, "running");
    });

    await step("deleted, its folder and its process are gone", async () => {
      const dialog = await site.askToDelete(page, hash);
      await dialog.getByRole("button", { name: "Delete" }).click();
      await site.row(page, hash).waitFor({ state: "detached" });
      await eventually("process and folder are gone", () => opencodesOf(router.pid).length === 0 && tracesOf(hash, router.stateDir).length === 0);
      assert.equal((await site.api(router, "GET", `/sessions/${hash}`)).status, 404);
      assert.equal((await get(router.port, host, "/")).status, 404);
    });

    await step("its old address says that there is no such session", async () => {
      await page.goto(`${router.url}/session/${hash}`);
      await page.getByText("This session does not exist").waitFor();
      await site.wayHome(page).waitFor();
      await inspect(page, "session-not-found");
      assertQuiet(page);
    });

    await t.test("axe finds nothing on any of these screens, and nothing sticks out", assertNothingFound);

    await step("the router ends when it is asked to, and leaves no process", async () => {
      assert.equal(await router.stop("SIGTERM"), 0);
      assert.equal(existsSync(router.stateDir), true);
    });
  } finally {
    await world.end();
  }
});
