// A reporter for Node.js's test runner: each promise is a sentence with its time, as in tests/cluster/smoke.
// What is broken is also appended to the file that TEST_BROKEN names, for the run's last lines.

import { appendFileSync } from "node:fs";

const summary = process.env.TEST_BROKEN;

export default async function* sentences(events) {
  for await (const { type, data } of events) {
    if (type === "test:stderr" || type === "test:stdout") yield data.message;
    if (type !== "test:pass" && type !== "test:fail") continue;
    // A file or a whole journey: its steps were already reported.
    if (data.nesting === 0 && type === "test:pass") continue;
    const time = `(${(data.details.duration_ms / 1000).toFixed(1)} s)`;
    if (data.skip !== undefined) yield `left    ${data.name}: ${data.skip}\n`;
    else if (type === "test:pass") yield `ok      ${data.name} ${time}\n`;
    else {
      const error = String(data.details.error?.cause?.stack ?? data.details.error);
      if (summary) appendFileSync(summary, `BROKEN  ${data.name}: ${error.split("\n").slice(0, 4).join(" ").slice(0, 600)}\n`);
      yield `BROKEN  ${data.name} ${time}\n${error}\n`;
    }
  }
}
