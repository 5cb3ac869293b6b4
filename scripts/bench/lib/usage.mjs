// What programs use, by the kernel's accounting (man 5 proc).
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

const TICKS = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

const statOf = (pid) => {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(") ") + 2).split(" "); // from the field `state`
};

/** Returns a process and all that it started. */
export function tree(pid) {
  const children = new Map();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const parent = Number(statOf(name)[1]);
      children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
    } catch {} // it has ended
  }
  const all = [pid];
  for (const one of all) all.push(...(children.get(one) ?? []));
  return all;
}

/** Returns the processor time of processes, all threads of each, in microseconds. */
export function processorTime(pids) {
  const ticks = pids.map((pid) => statOf(pid)).map((fields) => Number(fields[11]) + Number(fields[12]));
  return (ticks.reduce((sum, each) => sum + each, 0) / TICKS) * 1e6;
}

/** Returns the resident memory of processes in KiB. */
export const resident = (pids) =>
  pids
    .map((pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]))
    .reduce((sum, each) => sum + each, 0);

/** Returns the idle and the whole time of all cores, in ticks. */
export function machineTime() {
  const ticks = readFileSync("/proc/stat", "utf8").split("\n")[0].split(/\s+/).slice(1, 9).map(Number);
  return { idle: ticks[3] + ticks[4], all: ticks.reduce((sum, each) => sum + each, 0) };
}
