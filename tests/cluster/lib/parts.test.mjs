// What parts.sh promises: a part is stopped and started by commands in a named pipe.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

const here = import.meta.dirname;

async function until(what, check) {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(20)) if (await check()) return;
  assert.fail(`${what}: not within 10 s`);
}

test("a command counts even if its line arrives in pieces", { skip: process.platform !== "linux" && "parts.sh needs Linux" }, async (t) => {
  const state = await mkdtemp(path.join(tmpdir(), "parts-"));
  const script = 'set -euo pipefail; . "$1/common.sh"; . "$1/parts.sh"; state=$2; mkdir "$state/log"; start sleeper sleep 600; keep true';
  const supervisor = spawn("bash", ["-c", script, "supervisor", here, state], { stdio: ["ignore", "ignore", "inherit"] });
  const ended = new Promise((resolve) => supervisor.once("exit", resolve));
  t.after(async () => {
    supervisor.kill("SIGKILL"); // its parts end with it
    await ended;
    await rm(state, { recursive: true });
  });
  const held = () => readFile(path.join(state, "held"), "utf8").catch(() => undefined);
  await until("it supervises", async () => (await held()) !== undefined);

  const control = await open(path.join(state, "control"), "r+");
  t.after(() => control.close());
  await control.write("st");
  await sleep(700); // longer than the supervisor waits for a line
  await control.write("op sleeper\n");
  await until("it is stopped", async () => (await held()) === "sleeper\n");
  await control.write("start sleeper\n");
  await until("it is started", async () => (await held()) !== "sleeper\n");
});
