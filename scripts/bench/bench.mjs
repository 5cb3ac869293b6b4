#!/usr/bin/env node
// `make bench`: compares the router's throughput with haproxy's and nginx's, and measures its memory. Needs
// wrk, haproxy and nginx (Debian packages of those names) and a release build. All measurements run on
// loopback, one after another: quote ratios, not absolute numbers.
import { execFileSync, spawn } from "node:child_process";
import { accessSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const router = process.env.ROUTER_BIN ?? join(here, "../../target/release/opencode-router");
const rounds = Number(process.env.ROUNDS ?? 3);
const seconds = Number(process.env.SECONDS_EACH ?? 5);
const streams = Number(process.env.STREAMS ?? 1000);
const folder = mkdtempSync(join(tmpdir(), "router-bench-"));
const children = [];

const findProgram = (name) => {
  for (const dir of [...process.env.PATH.split(":"), "/usr/sbin"]) {
    try {
      accessSync(join(dir, name), 1);
      return join(dir, name);
    } catch {}
  }
  throw new Error(`${name} is missing. On Debian: apt-get install ${name === "nginx" ? "nginx-light" : name}`);
};
const freePort = () =>
  new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
const start = (command, args, env = {}) => {
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, ...env } });
  child.log = "";
  child.stderr.on("data", (data) => (child.log += data));
  children.push(child);
  return child;
};
const request = (port, path, { host = `localhost:${port}`, method = "GET", body } = {}) =>
  new Promise((done, fail) => {
    const headers = { host, "content-type": "application/json", "sec-fetch-site": "same-origin" };
    const outgoing = http.request({ port, host: "127.0.0.1", path, method, headers, agent: false }, (response) => {
      let text = "";
      response.on("data", (data) => (text += data)).on("end", () => done({ status: response.statusCode, text }));
    });
    outgoing.on("error", fail).end(body);
  });
const until = async (name, check) => {
  for (let tries = 0; tries < 200; tries++) {
    const answer = await check().catch(() => undefined);
    if (answer) return answer;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`${name} did not start. The end of all logs: ${children.map((child) => child.log).join("").slice(-2000)}`);
};
const rss = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;

const startRouter = async (name, env) => {
  const [port, health] = [await freePort(), await freePort()];
  const child = start(router, [], {
    BACKEND: "local",
    PORT: String(port),
    HEALTH_PORT: String(health),
    STATE_DIR: join(folder, name),
    OPENCODE_BIN: join(here, "fake-opencode.mjs"),
    LOG_LEVEL: "warn",
    ...env,
  });
  await until("the router", async () => (await request(port, "/api/sessions")).status === 200);
  const { hash } = JSON.parse((await request(port, "/api/sessions", { method: "POST", body: "{}" })).text);
  const session = async () => JSON.parse((await request(port, `/api/sessions/${hash}`)).text);
  await until("the session", async () => (await session()).state === "running");
  return { port, hash, child };
};
const wrk = (port, host) => {
  const out = execFileSync(findProgram("wrk"), ["-t1", "-c32", `-d${seconds}s`, "-H", `Host: ${host}`, `http://127.0.0.1:${port}/`], {
    encoding: "utf8",
  });
  if (/Non-2xx/.test(out)) throw new Error(`not all answers were 200:\n${out}`);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(out)[1]);
};
const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

async function throughput() {
  const nginx = findProgram("nginx");
  const { port, hash, child } = await startRouter("throughput", { BENCH_NGINX: nginx });
  const listening = execFileSync("sh", ["-c", "ls -d /proc/[0-9]*"], { encoding: "utf8" })
    .trim()
    .split("\n")
    .map((dir) => {
      try {
        return readFileSync(`${dir}/cmdline`, "utf8").split("\0");
      } catch {
        return [];
      }
    })
    .find((line) => line.some((word) => word.endsWith("fake-opencode.mjs")) && line.includes("--port"));
  const direct = Number(listening[listening.indexOf("--port") + 1]);

  const [haproxyPort, nginxPort] = [await freePort(), await freePort()];
  writeFileSync(
    join(folder, "haproxy.cfg"),
    `global\n  maxconn 4096\n  nbthread 2\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  option http-keep-alive\n  http-reuse always
frontend in\n  bind 127.0.0.1:${haproxyPort}\n  option forwardfor\n  default_backend out\nbackend out\n  server one 127.0.0.1:${direct}\n`,
  );
  writeFileSync(
    join(folder, "nginx.conf"),
    `daemon off; worker_processes 2; pid ${folder}/nginx.pid; error_log stderr; events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000;
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder}; uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
  upstream out { server 127.0.0.1:${direct}; keepalive 64; keepalive_requests 100000000; }
  server { listen 127.0.0.1:${nginxPort}; location / { proxy_pass http://out; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; proxy_buffering off; } } }`,
  );
  start(findProgram("haproxy"), ["-f", join(folder, "haproxy.cfg"), "-q"]);
  start(nginx, ["-c", join(folder, "nginx.conf")]);
  const targets = {
    direct: [direct, "localhost"],
    haproxy: [haproxyPort, "localhost"],
    nginx: [nginxPort, "localhost"],
    router: [port, `${hash}.localhost:${port}`],
  };
  for (const [name, [port, host]] of Object.entries(targets)) await until(name, async () => (await request(port, "/", { host })).status === 200);
  const rates = Object.fromEntries(Object.keys(targets).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, target] of Object.entries(targets)) rates[name].push(wrk(...target));
  }
  console.log(`\nwrk -t1 -c32, 12-byte body, ${rounds} rounds of ${seconds} s in turn, median:`);
  for (const [name, list] of Object.entries(rates)) {
    const ratio = (median(rates.router) / median(list)).toFixed(2);
    console.log(`  ${name.padEnd(8)} ${median(list).toFixed(0).padStart(8)} req/s   router/${name} ${ratio}`);
  }
  return child;
}

async function memory() {
  const { port, hash, child } = await startRouter("memory", {});
  console.log(`\nrouter RSS idle, one session: ${rss(child.pid).toFixed(1)} MiB`);
  for (const [description, path, host] of [
    ["of the site (/api/sessions/stream)", "/api/sessions/stream", `localhost:${port}`],
    ["proxied from a session (/event)", "/event", `${hash}.localhost:${port}`],
  ]) {
    const open = [];
    await Promise.all(
      Array.from(
        { length: streams },
        () =>
          new Promise((done, fail) => {
            const headers = { host, accept: "text/event-stream" };
            const request = http.get({ port, host: "127.0.0.1", path, headers, agent: false }, (response) => {
              if (response.statusCode !== 200) return fail(new Error(`a stream was answered with ${response.statusCode}`));
              response.once("data", done).on("error", () => {});
            });
            open.push(request.on("error", fail));
          }),
      ),
    );
    console.log(`router RSS with ${streams} idle streams ${description}: ${rss(child.pid).toFixed(1)} MiB`);
    for (const request of open) request.removeAllListeners("error").on("error", () => {}).destroy();
  }
}

try {
  await throughput();
  await memory();
} finally {
  for (const child of children) child.kill("SIGTERM");
  await Promise.all(children.map((child) => child.exitCode ?? new Promise((done) => child.once("exit", done))));
  rmSync(folder, { recursive: true, force: true });
}
