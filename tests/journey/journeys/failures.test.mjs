// What goes wrong is said where it went wrong, with what to do, and can be tried again.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertNothingFound, assertQuiet, inspect } from "../fixtures/browser.mjs";
import { eventually } from "../fixtures/gate.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import { opencodesOf, tracesOf } from "../fixtures/processes.mjs";
import * as site from "../fixtures/site.mjs";
import { startWorld } from "../fixtures/world.mjs";

let world;
before(async () => (world = await startWorld("failures")));
after(() => world?.end());

/** Creates a session that fails, and waits for its screen. */
async function failing(repository) {
  const page = await world.browser.page();
  await site.home(page, world.router);
  const hash = await site.create(page, { repository, branch: "main" });
  await page.getByRole("button", { name: "Try again" }).waitFor();
  const { state, reason } = await site.session(world.router, hash);
  assert.equal(state, "failed");
  return { page, hash, reason };
}

test("a missing repository is named as missing; made, it can be tried again", { timeout: 60_000 }, async () => {
  const { page, hash, reason } = await failing(world.git.url("later"));
  assert.equal(reason.code, "repository_not_found");
  await page.getByText("Repository not found").waitFor();
  await inspect(page, "failed-missing");
  world.git.make("later");
  await page.getByRole("button", { name: "Try again" }).click();
  await opencode.arrives(page, site.hostOf(hash, world.router));
  assertQuiet(page);
  await page.context().close();
});

test("a repository that wants a sign-in says so, and a failed session can be deleted", { timeout: 60_000 }, async () => {
  world.git.make("secret");
  const { page, hash, reason } = await failing(world.git.url("secret", "private"));
  assert.equal(reason.code, "authentication_failed");
  await page.getByText("The repository's host refused the credentials").waitFor();
  await inspect(page, "failed-sign-in");
  await page.getByRole("button", { name: "Delete" }).click();
  const dialog = site.deleteDialog(page);
  await dialog.getByRole("button", { name: "Delete" }).click();
  await dialog.waitFor({ state: "hidden" });
  await eventually("its folder is gone", () => tracesOf(hash, world.router.stateDir).length === 0);
  await page.context().close();
});

test("an opencode that is killed is started again by itself", { timeout: 60_000 }, async () => {
  world.git.make("sturdy");
  const page = await world.browser.page();
  await site.home(page, world.router);
  const others = opencodesOf(world.router.pid);
  const hash = await site.create(page, { repository: world.git.url("sturdy"), branch: "main" });
  await opencode.arrives(page, site.hostOf(hash, world.router));
  const [pid] = opencodesOf(world.router.pid).filter((it) => !others.includes(it));
  process.kill(pid, "SIGKILL");
  await eventually("another one runs", async () => {
    const now = opencodesOf(world.router.pid).filter((it) => !others.includes(it));
    return now.length === 1 && now[0] !== pid && (await site.session(world.router, hash)).state === "running";
  });
  await page.reload();
  await opencode.arrives(page, site.hostOf(hash, world.router));
  await page.context().close();
});

test("axe finds nothing on any of these screens, and nothing sticks out", assertNothingFound);
