#!/usr/bin/env node
// Runs the journeys one after another with Node.js's test runner: `node run.mjs [part of a file's name …]`.

import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const journeys = join(here, "journeys");
if (!existsSync(join(here, "node_modules", "playwright-core"))) {
  console.error("The journeys' packages are not installed. Run: npm ci --prefix tests/journey");
  process.exit(1);
}
const filters = process.argv.slice(2);
const files = readdirSync(journeys)
  .filter((name) => name.endsWith(".test.mjs") && (!filters.length || filters.some((part) => name.includes(part))))
  .sort();
if (!files.length) {
  console.error(`No journey's name contains ${filters.join(" or ")}. The journeys are: ${readdirSync(journeys).join(", ")}.`);
  process.exit(1);
}
const reporter = process.stdout.isTTY ? "spec" : "tap";
const runner = spawn(
  process.execPath,
  ["--test", "--test-concurrency=1", `--test-reporter=${reporter}`, ...files.map((name) => join(journeys, name))],
  { cwd: here, stdio: "inherit" },
);
runner.once("close", (code, signal) => process.exit(signal ? 1 : code));
