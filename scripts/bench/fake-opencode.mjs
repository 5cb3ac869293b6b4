#!/usr/bin/env node
// A fake `opencode serve` for the benchmarks: answers the router's requests to a session, and to others a
// 12-byte body or a silent event stream. With BENCH_NGINX it starts nginx to do so, which is fast enough to
// measure proxies.
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

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
    ([path, body]) => `location = ${path} { if ($http_authorization != "Basic ${password}") { return 401; } default_type application/json; return 200 '${JSON.stringify(body)}'; }`,
  );
  writeFileSync(
    join(folder, "nginx.conf"),
    `daemon off; worker_processes 1; pid ${folder}/pid; error_log stderr;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000; keepalive_timeout 300s;
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder}; uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
  server { listen 127.0.0.1:${port}; ${locations.join("\n")}
    location / { default_type text/plain; return 200 'hello world\n'; } } }`,
  );
  const nginx = spawn(process.env.BENCH_NGINX, ["-c", join(folder, "nginx.conf")], { stdio: "inherit" });
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => nginx.kill(signal));
  nginx.on("exit", (code) => process.exit(code ?? 1));
} else {
  createServer((request, response) => {
    const path = request.url.split("?")[0];
    if (path === "/event") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      return response.write("data: {}\n\n");
    }
    const body = answers[path];
    if (body && request.headers.authorization !== `Basic ${password}`) return response.writeHead(401).end();
    response.writeHead(200, { "content-type": body ? "application/json" : "text/plain" });
    response.end(body ? JSON.stringify(body) : "hello world\n");
  }).listen(port, "127.0.0.1");
}
