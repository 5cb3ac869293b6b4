// Checks the size of the first load: the entry script and all its static imports, compressed with brotli.
import { readFileSync } from "node:fs";
import { brotliCompressSync } from "node:zlib";

const LIMIT = 60 * 1024;
const html = readFileSync("dist/index.html", "utf8");
const queue = [...html.matchAll(/(?:src|href)="(\/[^"]+\.js)"/g)].map((match) => match[1]);
const scripts = new Set();
for (const path of queue) {
  if (scripts.has(path)) continue;
  scripts.add(path);
  const code = readFileSync(`dist${path}`, "utf8");
  for (const [, name] of code.matchAll(/(?:import|from)\s*"\.\/([^"]+\.js)"/g)) queue.push(`/assets/${name}`);
}
const size = [...scripts].reduce(
  (sum, path) => sum + brotliCompressSync(readFileSync(`dist${path}`)).length,
  0,
);
console.log(
  `first load: ${scripts.size} scripts, ${(size / 1024).toFixed(1)} KiB compressed (limit ${LIMIT / 1024} KiB)`,
);
if (scripts.size < 2 || size > LIMIT) process.exitCode = 1;
