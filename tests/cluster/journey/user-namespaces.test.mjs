// USER_NAMESPACES=true on a real node: root in a session's Pod is nobody outside, and files keep their owner.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as site from "../../journey/fixtures/site.mjs";
import { eventually } from "../../journey/fixtures/gate.mjs";
import { inPod, kubectl, podOf, routersLog } from "./cluster.mjs";
import { as, startWorld, stepper } from "./world.mjs";

const ANN = "ann@example.com";

test("user namespaces", { timeout: 300_000 }, async (t) => {
  let world;
  let hash;
  const outside = async () => Number((await inPod(hash, "cat", "/proc/self/uid_map")).trim().split(/\s+/)[1]);
  const owners = () => inPod(hash, "sh", "-c", "stat -c '%u:%g' ~/repo/README.md ~/repo/note.txt");
  const step = stepper(t, async () => {
    console.error((await routersLog()).slice(-3000));
    console.error((await kubectl(["get", "events", "--sort-by=.lastTimestamp"])).split("\n").slice(-12).join("\n"));
  });
  const stop = async () => {
    assert.equal((await site.api(world.front, "POST", `/sessions/${hash}/stop`, as(ANN))).status, 200);
    await eventually("it is stopped", async () => (await site.getSession(world.front, hash, as(ANN))).state === "stopped");
  };
  const resume = async () => {
    assert.equal((await site.api(world.front, "POST", `/sessions/${hash}/resume`, as(ANN))).status, 200);
    await world.runs(hash, ANN);
  };
  try {
    world = await startWorld();
    world.git.make("widgets");
    await step("Without user namespaces, a Pod's users are the node's", async () => {
      hash = await world.create(ANN, { repoUrl: world.git.url("widgets"), branch: "main" });
      await world.runs(hash, ANN);
      assert.equal((await podOf(hash)).spec.hostUsers, undefined);
      assert.equal(await outside(), 0);
      await inPod(hash, "sh", "-c", "echo note > ~/repo/note.txt");
      assert.equal(await owners(), "1000:1000\n1000:1000");
    });
    await step("With USER_NAMESPACES=true the same session's Pod has its own users: its root is a high number outside", async () => {
      await stop();
      await world.install({ userNamespaces: true });
      await resume();
      assert.equal((await podOf(hash)).spec.hostUsers, false);
      const [[inside, first, count]] = [(await inPod(hash, "cat", "/proc/self/uid_map")).trim().split(/\s+/).map(Number)];
      assert.equal(inside, 0);
      assert.ok(first >= 65_536, `root within is ${first} outside`);
      assert.ok(count >= 65_536);
    });
    await step("Earlier files keep their owner, and can be written", async () => {
      assert.equal(await owners(), "1000:1000\n1000:1000");
      await inPod(hash, "sh", "-c", "echo more >> ~/repo/note.txt");
      assert.equal(await inPod(hash, "sh", "-c", "cat ~/repo/note.txt"), "note\nmore");
    });
    await step("Without user namespaces again, files written with them belong to the user, too", async () => {
      await stop();
      await world.install({ userNamespaces: false });
      await resume();
      assert.equal(await outside(), 0);
      assert.equal(await owners(), "1000:1000\n1000:1000");
    });
  } finally {
    await world?.end();
  }
});
