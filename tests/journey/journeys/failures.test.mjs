// Failed sessions: the page shows the reason and advice, and the user can try again or delete the session.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertAccessible, assertNoErrors, inspect } from "../fixtures/browser.mjs";
import { eventually } from "../fixtures/gate.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import { opencodePids, filesOf } from "../fixtures/processes.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

let app;
before(async () => (app = await startTestApp("failures")));
after(() => app?.end());

/** Creates a session that fails, and waits for its page. */
async function createFailing(repository) {
  const page = await app.browser.page();
  await site.openHome(page, app.router);
  const hash = await site.createSession(page, { repository, branch: "main" });
  await page.getByRole("button", { name: "Try again" }).waitFor();
  const { state, reason } = await site.getSession(app.router, hash);
  assert.equal(state, "failed");
  return { page, hash, reason };
}

test("a missing repository is reported, and once it exists the session starts on Try again", { timeout: 60_000 }, async () => {
  const { page, hash, reason } = await createFailing(app.git.url("later"));
  assert.equal(reason.code, "repository_not_found");
  await page.getByText("Repository not found").waitFor();
  await inspect(page, "failed-missing");
  app.git.make("later");
  await page.getByRole("button", { name: "Try again" }).click();
  await opencode.waitForSession(page, site.hostOf(hash, app.router));
  assertNoErrors(page);
  await page.context().close();
});

test("a repository that requires a sign-in is reported, and a failed session can be deleted", { timeout: 60_000 }, async () => {
  app.git.make("secret");
  const { page, hash, reason } = await createFailing(app.git.url("secret", "private"));
  assert.equal(reason.code, "authentication_failed");
  await page.getByText("The repository's host refused the credentials").waitFor();
  await inspect(page, "failed-sign-in");
  await page.getByRole("button", { name: "Delete" }).click();
  const dialog = site.deleteDialog(page);
  await dialog.getByRole("button", { name: "Delete" }).click();
  await dialog.waitFor({ state: "hidden" });
  await eventually("the session's folder is deleted", () => filesOf(hash, app.router.stateDir).length === 0);
  await page.context().close();
});

test("a killed opencode is restarted", { timeout: 60_000 }, async () => {
  app.git.make("sturdy");
  const page = await app.browser.page();
  await site.openHome(page, app.router);
  const others = opencodePids(app.router.pid);
  const hash = await site.createSession(page, { repository: app.git.url("sturdy"), branch: "main" });
  await opencode.waitForSession(page, site.hostOf(hash, app.router));
  const [pid] = opencodePids(app.router.pid).filter((candidate) => !others.includes(candidate));
  process.kill(pid, "SIGKILL");
  await eventually("another opencode is running", async () => {
    const pids = opencodePids(app.router.pid).filter((candidate) => !others.includes(candidate));
    return pids.length === 1 && pids[0] !== pid && (await site.getSession(app.router, hash)).state === "running";
  });
  await page.reload();
  await opencode.waitForSession(page, site.hostOf(hash, app.router));
  await page.context().close();
});

test("all these pages are accessible and fit the window", assertAccessible);
