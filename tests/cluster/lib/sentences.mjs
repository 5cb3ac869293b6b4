// Turns the output of `cargo test -- --test-threads=1` into sentences with their times; passes on other lines
// that matter. Exits with 1 if no test ran: a filter that matches nothing must not look like success.

import { createInterface } from "node:readline";

let before = Date.now();
let count = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const [, name, said, result] = line.match(/^test (\S+)(?: - should panic)? \.\.\. (.*?)(ok|FAILED|ignored)(?:, .*)?$/) ?? [];
  const now = Date.now();
  if (name) {
    const sentence = name.split("::").at(-1).replaceAll("_", " ");
    const word = { ok: "ok     ", FAILED: "BROKEN ", ignored: "left   " }[result];
    if (result !== "ignored") count += 1;
    console.log(`${word} ${sentence[0].toUpperCase()}${sentence.slice(1)} (${((now - before) / 1000).toFixed(1)} s)`);
    if (said) console.log(said);
  } else if (/\S/.test(line) && !/^(running \d+ tests?|test result: ok|\s+(Compiling|Finished|Running|Blocking|warning)\b)/.test(line)) console.log(line);
  before = now;
}
if (!count) {
  console.log("BROKEN  No test ran.");
  process.exitCode = 1;
}
