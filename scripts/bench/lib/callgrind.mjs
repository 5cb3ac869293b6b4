// Runs a program under valgrind's callgrind, and reads what it cost.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { end, findProgram, start, until } from "./processes.mjs";

/**
 * Runs `command` under callgrind until `use` is over; returns the instructions of its whole life. `ready` is
 * true when `use` can start. `file` gets callgrind's output.
 */
export async function countInstructions(command, { env = {}, ready, use, file }) {
  // One core and one worker thread, so that no second worker's search for work is counted.
  const words = [
    "-c",
    "0",
    findProgram("valgrind"),
    "--tool=callgrind",
    `--callgrind-out-file=${file}`,
    ...command,
  ];
  const child = start(findProgram("taskset", "util-linux"), words, { TOKIO_WORKER_THREADS: "1", ...env });
  await until(command[0], child, () => ready(child), 120);
  await use();
  await end(child, "SIGINT", 120);
  const total = /^(?:summary|totals): (\d+)/m.exec(readFileSync(file, "utf8"));
  if (!total)
    throw new Error(`callgrind wrote no total for ${command.join(" ")}; it said:\n${child.log.slice(-2000)}`);
  return Number(total[1]);
}

/** Returns the functions that cost most as `[name, instructions]`; `inclusive` with what they call. */
export function dearest(file, count, inclusive) {
  const args = ["--threshold=100", `--inclusive=${inclusive ? "yes" : "no"}`, "--auto=no", file];
  const report = execFileSync(findProgram("callgrind_annotate", "valgrind"), args, {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  const functions = new Map();
  for (const line of report.split("\n")) {
    const entry = /^\s*([\d,]+)\s+(?:\(\s*[\d.]+%\)\s+)?(.+)$/.exec(line);
    if (!entry || /PROGRAM TOTALS|events annotated/.test(line)) continue;
    const cost = Number(entry[1].replaceAll(",", ""));
    // `file:function [object]`: one entry for each file whose lines were inlined into the function.
    const name = entry[2].replace(/ \[[^\]]*\]$/, "").replace(/^.*?:(?!:)/, "");
    const known = functions.get(name) ?? 0;
    functions.set(name, inclusive ? Math.max(known, cost) : known + cost);
  }
  return [...functions].sort(([, one], [, other]) => other - one).slice(0, count);
}
