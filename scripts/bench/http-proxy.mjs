#!/usr/bin/env node
// npm's http-proxy, the engine of the TypeScript router, with connections that are used again.
// Usage: http-proxy.mjs PORT UPSTREAM_PORT
import http from "node:http";
import httpProxy from "http-proxy";

const [port, upstream] = process.argv.slice(2).map(Number);
const agent = new http.Agent({ keepAlive: true });
const proxy = httpProxy.createProxyServer({
  target: { host: "127.0.0.1", port: upstream },
  agent,
  xfwd: true,
});
proxy.on("error", (_error, _request, response) => response.destroy());
http
  .createServer((request, response) => proxy.web(request, response))
  .on("upgrade", (request, socket, head) => proxy.ws(request, socket, head))
  .listen({ port, host: "127.0.0.1", backlog: 4096 });
