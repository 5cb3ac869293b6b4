// A stopped session wakes for a browser and for a program, and not for a forgotten tab or a probe.

import assert from "node:assert/strict";
import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { PHONE, assertAccessible, assertNoErrors, inspect, screenshot } from "../fixtures/browser.mjs";
import { eventually } from "../fixtures/gate.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import { opencodePids } from "../fixtures/processes.mjs";
import { get, opencodeProgram } from "../fixtures/router.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

const AS_PAGE = { "sec-fetch-mode": "cors", "sec-fetch-site": "same-origin" };

/** An opencode whose start is held while a file exists. */
async function holdableOpencode() {
  const path = join(tmpdir(), `opencode-held-${process.pid}`);
  const flag = `${path}.hold`;
  const hold = 'case "$1" in serve) while [ -e "$0.hold" ]; do sleep 0.05; done ;; esac';
  writeFileSync(path, `#!/bin/sh\n${hold}\nexec '${await opencodeProgram()}' "$@"\n`);
  chmodSync(path, 0o755);
  return {
    path,
    hold: () => writeFileSync(flag, ""),
    release: () => rmSync(flag, { force: true }),
    remove: () => [path, flag].forEach((file) => rmSync(file, { force: true })),
  };
}

test("a stopped session wakes on request", { timeout: 180_000 }, async (t) => {
  const held = await holdableOpencode();
  const app = await startTestApp("wake", { OPENCODE_BIN: held.path });
  const { git, browser } = app;
  let { router } = app;
  let failed = false;
  let page;
  const step = (name, run) =>
    t.test(name, { skip: failed && "an earlier step failed" }, async () => {
      try {
        await run();
      } catch (error) {
        failed = true;
        await screenshot(page, "wake-failed").catch(() => {});
        console.error(`At ${page?.url()}; the router's log ends:\n${router?.log().slice(-3000)}`);
        throw error;
      }
    });
  const stateOf = async (hash) => (await site.getSession(router, hash)).state;
  const create = async (body) => {
    const made = await site.api(router, "POST", "/sessions", { body });
    assert.equal(made.status, 201, made.body);
    return made.json.hash;
  };
  const restart = async (env = {}) => {
    await router.stop();
    await app.restartRouter({ PORT: String(router.port), ...env });
    router = app.router;
  };
  const reaches = (hash, state) => eventually(`${hash} is ${state}`, async () => (await stateOf(hash)) === state, 60_000);
  const stop = async (hash) => {
    assert.equal((await site.api(router, "POST", `/sessions/${hash}/stop`)).status, 200);
    await reaches(hash, "stopped");
  };

  try {
    git.make("widgets");
    const hash = await create({ repoUrl: git.url("widgets"), branch: "main", initialMessage: "say hello" });
    const host = site.hostOf(hash, router);
    let forgotten;
    let reconnects = 0;
    let deepLink;

    await step("a tab with a conversation is left open", async () => {
      await reaches(hash, "running");
      forgotten = await browser.page();
      page = forgotten;
      const drawsAnswers = opencode.drawsAnswers(forgotten);
      await forgotten.goto((await site.getSession(router, hash)).url);
      await opencode.waitForSession(forgotten, host);
      await opencode.waitForAnswer(forgotten, "Answer to: say hello");
      await drawsAnswers;
      deepLink = forgotten.url();
    });

    await step("its reconnects wake nothing", async () => {
      const refused = [];
      forgotten.on("response", (response) => response.status() === 503 && refused.push(new URL(response.url()).pathname));
      await stop(hash);
      forgotten.on("response", (response) => response.status() === 200 && new URL(response.url()).pathname.endsWith("/event") && reconnects++);
      await eventually("the tab has tried to reconnect", () => refused.filter((path) => path.endsWith("/event")).length >= 3, 60_000);
      assert.equal(await stateOf(hash), "stopped");
      assert.deepEqual(opencodePids(router.pid), []);
    });

    await step("probes, prefetches and pages get 503 with Retry-After", async () => {
      const event = { accept: "text/event-stream", ...AS_PAGE };
      for (const [method, headers] of [["HEAD", {}], ["GET", { "user-agent": "kube-probe/1.37" }], ["GET", event], ["GET", { "sec-purpose": "prefetch", "sec-fetch-mode": "navigate" }]]) {
        const { status, headers: answered } = await get(router.port, host, "/global/event", { method, headers });
        assert.equal(status, 503, `${method} ${JSON.stringify(headers)}`);
        assert.match(answered["retry-after"], /^\d+$/);
      }
      assert.equal(await stateOf(hash), "stopped");
    });

    await step("a browser that opens a deep link sees the start", async () => {
      held.hold();
      page = await browser.page();
      await page.goto(`${deepLink}?from=mail#here`);
      assert.ok(page.url().startsWith(`${router.url}/session/${hash}?to=`), page.url());
      await page.getByText("Starting opencode…").waitFor();
      await inspect(page, "waking");
      await page.keyboard.press("Tab");
      await page.getByRole("link", { name: "Skip to content" }).waitFor();
      assertNoErrors(page);
      const german = await browser.page({ language: "de-DE", size: PHONE });
      await german.goto(`http://${host}/`);
      await german.locator("html[lang=de]").waitFor({ state: "attached" });
      await german.getByText(/opencode startet|Startet/i).first().waitFor();
      await inspect(german, "waking-german");
      await german.context().close();
    });

    await step("the page becomes the session at that address", async () => {
      held.release();
      await page.waitForURL((url) => url.host === host && url.search === "?from=mail", { timeout: 60_000 });
      const { pathname, hash: fragment } = new URL(page.url());
      assert.deepEqual([pathname, fragment], [new URL(deepLink).pathname, "#here"]);
      await opencode.waitForAnswer(page, "Answer to: say hello");
      await page.goBack().catch(() => {});
      assert.doesNotMatch(page.url(), /[?&]to=/, "Back skips the page that waited");
    });

    await step("the forgotten tab reconnects once the session runs", async () => {
      await eventually("the tab has a stream again", () => reconnects > 0, 60_000);
      await opencode.sendPrompt(forgotten, "say more");
      await opencode.waitForAnswer(forgotten, "Answer to: say more");
      await forgotten.context().close();
    });

    await step("a program's requests are held until the session runs, with their bodies", async () => {
      await stop(hash);
      held.hold();
      const answers = [];
      const created = get(router.port, host, "/session", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ title: "held" }) });
      const listed = get(router.port, host, "/global/health");
      for (const request of [created, listed]) request.then((answer) => answers.push(answer)).catch((error) => answers.push(error));
      await reaches(hash, "creating");
      assert.deepEqual(answers, []);
      held.release();
      assert.equal((await created).status, 200);
      assert.equal(JSON.parse((await created).body).title, "held");
      assert.equal(JSON.parse((await listed).body).healthy, true);
    });

    await step("with a limit reached, the session's page says why it was not started", async () => {
      // The site has a name of its own now.
      const siteHost = `code.localhost:${router.port}`;
      await restart({ SITE_HOST: siteHost, MAX_RUNNING_SESSIONS_PER_USER: "1" });
      const other = await create({});
      await reaches(other, "running");
      const { status, body } = await get(router.port, host, "/session");
      assert.equal(status, 429);
      assert.match(JSON.parse(body).error, /limit of running sessions \(1\)/);
      page = await browser.page();
      await page.goto(deepLink);
      assert.equal(new URL(page.url()).host, siteHost);
      await page.getByRole("alert").getByText("you have reached a limit").waitFor();
      assert.equal(await page.evaluate(() => document.activeElement?.textContent?.trim()), "Resume");
      await inspect(page, "not-started");
      await stop(other);
      await page.keyboard.press("Enter");
      await page.waitForURL(deepLink, { timeout: 60_000 });
      await opencode.waitForAnswer(page, "Answer to: say more");
    });

    await step("a failed session is not started by a request", async () => {
      await stop(hash);
      await restart();
      writeFileSync(held.path, "#!/bin/sh\nexit 1\n");
      const { status, body } = await get(router.port, host, "/session", { timeout: 60_000 });
      assert.equal(status, 503, body);
      assert.equal(JSON.parse(body).code, "session_failed");
      page = await browser.page();
      await page.goto(deepLink);
      await page.getByRole("button", { name: "Try again" }).waitFor();
      assert.equal(await stateOf(hash), "failed");
    });

    await t.test("all these pages are accessible and fit the window", assertAccessible);
  } finally {
    held.remove();
    await app.end();
  }
});
