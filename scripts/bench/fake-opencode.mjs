#!/usr/bin/env node
// A fake `opencode serve` for the benchmarks: answers the router's requests to a session, and is otherwise
// one of lib/upstream.mjs: nginx (its path in BENCH_NGINX), which is fast enough to measure proxies, or Node.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawnNginx, startStreams } from "./lib/upstream.mjs";

const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
};
if (process.argv.includes("--version")) {
  console.log("1.18.0-bench");
  process.exit(0);
}
const port = Number(option("port", "4096"));
// The router checks that its session requires the password.
const password = Buffer.from(`opencode:${process.env.OPENCODE_SERVER_PASSWORD}`).toString("base64");
const session = { id: "ses_bench", title: "bench", directory: "/bench", time: { created: 1, updated: 1 } };
const answers = {
  "/global/health": { healthy: true, version: "1.18.0-bench" },
  "/path": { directory: "/bench", worktree: "/bench" },
  "/session": [session],
  "/session/status": {},
};

if (process.env.BENCH_NGINX) {
  const folder = mkdtempSync(join(tmpdir(), "bench-nginx-"));
  const locations = Object.entries(answers).map(
    ([path, body]) =>
      `location = ${path} { if ($http_authorization != "Basic ${password}") { return 401; } default_type application/json; return 200 '${JSON.stringify(body)}'; }`,
  );
  const nginx = spawnNginx(process.env.BENCH_NGINX, port, folder, locations);
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => nginx.kill(signal));
  nginx.on("exit", (code) => {
    rmSync(folder, { recursive: true, force: true });
    process.exit(code ?? 1);
  });
} else {
  startStreams(port, (request, path) => {
    if (!answers[path]) return undefined;
    if (request.headers.authorization !== `Basic ${password}`) return [401, "text/plain", ""];
    return [200, "application/json", JSON.stringify(answers[path])];
  });
}
