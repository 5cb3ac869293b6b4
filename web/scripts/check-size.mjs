// What the first load costs: the entry script and everything that it imports at once, as brotli.
import { readFileSync } from "node:fs";
import { brotliCompressSync } from "node:zlib";

const LIMIT = 60 * 1024;
const html = readFileSync("dist/index.html", "utf8");
const wanted = [...html.matchAll(/(?:src|href)="(\/[^"]+\.js)"/g)].map((match) => match[1]);
const seen = new Set();
for (const path of wanted) {
  if (seen.has(path)) continue;
  seen.add(path);
  const code = readFileSync(`dist${path}`, "utf8");
  for (const [, name] of code.matchAll(/(?:import|from)\s*"\.\/([^"]+\.js)"/g))
    wanted.push(`/assets/${name}`);
}
const size = [...seen].reduce((sum, path) => sum + brotliCompressSync(readFileSync(`dist${path}`)).length, 0);
console.log(
  `first load: ${seen.size} scripts, ${(size / 1024).toFixed(1)} KiB compressed (limit ${LIMIT / 1024} KiB)`,
);
if (seen.size < 2 || size > LIMIT) process.exitCode = 1;
