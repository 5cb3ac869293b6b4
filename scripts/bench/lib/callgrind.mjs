// Runs a program under valgrind's callgrind, and reads what it cost.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { end, findProgram, start, until } from "./processes.mjs";

const BATCHES = 5;

/**
 * Runs `command` under callgrind. When `ready` is true, `warmUp` runs, then `use` a few times; returns the
 * instructions of the cheapest `use` (work in the background can only add to it), and callgrind's file of it.
 */
export async function countInstructions(command, { env = {}, ready, warmUp, use, folder, name }) {
  const file = join(folder, `callgrind.${name}`);
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
  const control = (option) => {
    const words = [option, String(child.pid)];
    return execFileSync(findProgram("callgrind_control", "valgrind"), words, {
      encoding: "utf8",
      stdio: "pipe",
    });
  };
  await until(command[0], child, () => ready(child), 120);
  await warmUp();
  const counts = [];
  for (let batch = 1; batch <= BATCHES; batch++) {
    control("--zero");
    await use();
    control("--dump");
    const dump = `${file}.${batch}`;
    const total = /^(?:summary|totals): (\d+)/m.exec(readFileSync(dump, "utf8"));
    if (!total) throw new Error(`callgrind wrote no total to ${dump}; it said:\n${child.log.slice(-2000)}`);
    counts.push({ total: Number(total[1]), file: dump });
  }
  await end(child, "SIGINT", 120);
  return counts.reduce((least, each) => (each.total < least.total ? each : least));
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
  const list = [...functions].sort(([, one], [, other]) => other - one);
  // Functions that ran when the counts were zeroed get all that they call as their own.
  const whole = list[0]?.[1] ?? 0;
  return list.filter(([, cost]) => inclusive || cost < 0.9 * whole).slice(0, count);
}
