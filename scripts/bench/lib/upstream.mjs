// The servers behind the proxies: nginx for requests that count in throughput, Node for streams.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

export const BODY = "hello world\n";
const FILES = { "64k": 64 << 10, "10m": 10 << 20, "1g": 1 << 30 };

/** Starts nginx in `folder`; `locations` are further ones. */
export function spawnNginx(nginx, port, folder, locations = []) {
  mkdirSync(join(folder, "files"), { recursive: true });
  for (const [name, size] of Object.entries(FILES)) {
    const file = openSync(join(folder, "files", name), "w"); // sparse: costs no disk
    ftruncateSync(file, size);
    closeSync(file);
  }
  // An upload is read whole before it is answered: nginx does so for an upstream only, here another listener.
  writeFileSync(
    join(folder, "nginx.conf"),
    `daemon off; worker_processes 1; pid ${folder}/pid; error_log stderr;
events { worker_connections 8192; }
http { access_log off; keepalive_requests 100000000; keepalive_timeout 300s; sendfile on; tcp_nopush on;
  client_max_body_size 0; client_body_buffer_size 11m; open_file_cache max=10; types {}
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
  uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
  upstream read { server unix:${folder}/read; keepalive 300; keepalive_requests 100000000; }
  server { listen unix:${folder}/read; return 200 '${BODY.trim()}\\n'; }
  server { listen 127.0.0.1:${port} backlog=4096; ${locations.join("\n")}
    location / { default_type text/plain; return 200 '${BODY.trim()}\\n'; }
    location = /check { default_type text/plain; return 200 '$connection $connection_requests $http_x_forwarded_for'; }
    location /files/ { root ${folder}; default_type application/octet-stream; }
    location = /upload { proxy_pass http://read; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_body ""; } } }`,
  );
  return spawn(nginx, ["-c", join(folder, "nginx.conf")], { stdio: "inherit" });
}

/** Sends an event to each stream once per `every` milliseconds, evenly spread; its data is the time in ns. */
class Ticker {
  streams = [];
  next = 0;
  add(response, every) {
    this.streams.push(response);
    response.on("close", () => this.streams.splice(this.streams.indexOf(response), 1));
    this.started ??= setInterval(() => this.tick(every), 1);
  }
  tick(every) {
    const now = performance.now();
    this.last ??= now;
    // As many as are due since the last tick.
    let due = Math.floor(((now - this.last) * this.streams.length) / every);
    if (due > 0) this.last += (due * every) / this.streams.length;
    for (; due > 0; due--) {
      this.next = (this.next + 1) % this.streams.length;
      this.streams[this.next].write(`data: ${process.hrtime.bigint()}\n\n`);
    }
  }
}

/**
 * Starts a server for streams: `/event` (silent, or one event per `every` milliseconds), `/discard`, which
 * answers when it has read the body, and WebSockets. `answer(request)` may give another answer.
 */
export function startStreams(port, answer = () => undefined) {
  const ticker = new Ticker();
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://localhost");
    if (pathname === "/event") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: {}\n\n");
      if (searchParams.has("every")) ticker.add(response, Number(searchParams.get("every")));
      return;
    }
    const [status, type, body] = answer(request, pathname) ?? [200, "text/plain", BODY];
    const respond = () =>
      response.writeHead(status, { "content-type": type, "content-length": body.length }).end(body);
    if (request.method === "PUT") request.on("end", respond).resume();
    else respond();
  });
  server.on("upgrade", (request, socket) => {
    const accept = createHash("sha1").update(
      `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`,
    );
    socket.on("error", () => {}).resume();
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept.digest("base64")}\r\n\r\n`,
    );
  });
  server.requestTimeout = 0;
  server.keepAliveTimeout = 300_000;
  return server.listen({ port, host: "127.0.0.1", backlog: 4096 });
}
