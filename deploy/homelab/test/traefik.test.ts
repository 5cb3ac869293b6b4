/**
 * The site's routes and the sign-in's chain in a real Traefik (TRAEFIK_BIN), on loopback: the stack's objects
 * in the form of its file provider, with servers in place of oauth2-proxy, of the page that leads to it, and of
 * the router.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { after, before, test } from "node:test";

import { manifests, PROXY_SECRET, run } from "./program";

const program = process.env.TRAEFIK_BIN;
const skip = program === undefined && "TRAEFIK_BIN names no Traefik";
const SITE = "code.example.com";
const SIGNED_IN = { cookie: "_oauth2_developers=alice" };

/** A server that answers with its name, and remembers what it received. */
class Stub {
  received: { url: string; headers: IncomingMessage["headers"] }[] = [];
  readonly server: Server;

  constructor(
    name: string,
    check?: (request: IncomingMessage) => [number, Record<string, string>] | undefined,
  ) {
    this.server = createServer((request, response) => {
      this.received.push({ url: request.url ?? "", headers: request.headers });
      const [status, headers] = check?.(request) ?? [200, {}];
      response.writeHead(status, headers).end(name);
    }).listen(0, "127.0.0.1");
  }

  get address(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }
}

/** Like oauth2-proxy, it names the user to Traefik in its answer to /oauth2/auth. */
const signIn = new Stub("oauth2-proxy", (request) => {
  if (request.url !== "/oauth2/auth") return undefined;
  return request.headers.cookie?.includes(SIGNED_IN.cookie)
    ? [202, { "X-Auth-Request-Email": "alice@example.com", "X-Auth-Request-Access-Token": "alice's token" }]
    : [401, {}];
});
const redirect = new Stub("sign in at /oauth2/start");
const router = new Stub("router");
const addresses: Record<string, Stub> = {
  "oauth2-proxy-developers": signIn,
  "oauth2-shared-redirect": redirect,
  code: router,
};
const folder = mkdtempSync(path.join(tmpdir(), "opencode-homelab-traefik-"));
let traefik: ChildProcess | undefined;
let port: number;

before(async () => {
  if (program === undefined) return;
  await Promise.all(
    Object.values(addresses).map(({ server }) => server.listening || once(server, "listening")),
  );
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  port = (probe.address() as AddressInfo).port;
  await new Promise((resolve) => probe.close(resolve));
  writeFileSync(
    path.join(folder, "dynamic.json"),
    JSON.stringify({ http: translate(manifests(await run())) }),
  );
  traefik = spawn(
    program,
    [
      `--entryPoints.web.address=127.0.0.1:${port}`,
      `--providers.file.filename=${path.join(folder, "dynamic.json")}`,
      "--providers.file.watch=false",
      "--global.checkNewVersion=false",
      "--global.sendAnonymousUsage=false",
    ],
    { stdio: "ignore" },
  );
  // It listens before it has read its routes.
  for (;;) {
    assert.equal(traefik.exitCode, null, "Traefik ended");
    const { status } = await get("/").catch(() => ({ status: 404 }));
    if (status !== 404) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});

after(async () => {
  if (traefik !== undefined && traefik.exitCode === null) {
    traefik.kill();
    await once(traefik, "exit");
  }
  for (const { server } of Object.values(addresses)) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(folder, { recursive: true, force: true });
});

/** The objects in the form of Traefik's file provider: the same rules and middlewares. */
function translate(objects: any[]): object {
  const http: any = { routers: {}, middlewares: {}, services: {} };
  for (const { kind, metadata, spec } of objects) {
    if (kind === "Middleware") {
      const middleware = structuredClone(spec);
      if (middleware.chain)
        middleware.chain.middlewares = middleware.chain.middlewares.map(({ name }: any) => name);
      if (middleware.errors) middleware.errors.service = service(http, middleware.errors.service);
      if (middleware.forwardAuth) middleware.forwardAuth.address = `${signIn.address}/oauth2/auth`;
      http.middlewares[metadata.name] = middleware;
    }
    if (kind === "IngressRoute") {
      for (const [index, { match, priority, middlewares = [], services }] of spec.routes.entries()) {
        http.routers[`${metadata.name}-${index}`] = {
          rule: match,
          priority,
          entryPoints: spec.entryPoints,
          middlewares: middlewares.map(({ name }: any) => name),
          service: service(http, services[0]),
        };
      }
    }
  }
  return http;
}

function service(http: any, { name }: { name: string }): string {
  const stub = addresses[name];
  assert.ok(stub, `no server stands for the Service ${name}`);
  http.services[name] = { loadBalancer: { servers: [{ url: stub.address }] } };
  return name;
}

/** Sends the path as it is spelled, to the site. */
async function get(path: string, headers: Record<string, string> = {}) {
  for (const stub of Object.values(addresses)) stub.received = [];
  const sent = request({
    host: "127.0.0.1",
    port,
    path,
    headers: { host: SITE, ...headers },
    agent: false,
  }).end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  let body = "";
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode, headers: response.headers, body };
}

/** What oauth2-proxy received from browsers: Traefik's own questions say which request they are about. */
function shown(): string[] {
  return signIn.received
    .filter(({ headers }) => headers["x-forwarded-uri"] === undefined)
    .map(({ url }) => url);
}

test("Traefik leads who is not signed in to the sign-in, and not to the router", { skip }, async () => {
  const { body, status } = await get("/api/sessions", { "x-auth-request-email": "mallory@example.com" });
  assert.deepEqual([body, router.received, status], ["sign in at /oauth2/start", [], 401]);
});

test("Traefik names the user to the router, whatever the browser claims", { skip }, async () => {
  const forged = {
    "x-auth-request-email": "mallory@example.com",
    "x-auth-request-access-token": "mallory's",
    "x-auth-request-token": "mallory's",
    "x-forwarded-access-token": "mallory's",
    "x-router-proxy-secret": "mallory's",
  };
  for (const headers of [{}, forged]) {
    const { body } = await get("/api/sessions", { ...SIGNED_IN, ...headers });
    assert.equal(body, "router");
    const [received] = router.received;
    assert.equal(received?.headers["x-auth-request-email"], "alice@example.com");
    assert.equal(received?.headers["x-auth-request-access-token"], "alice's token");
    assert.equal(received?.headers["x-router-proxy-secret"], PROXY_SECRET);
    assert.doesNotMatch(JSON.stringify(received?.headers), /mallory/);
  }
});

test("the proxy secret reaches the router alone", { skip }, async () => {
  for (const headers of [{}, SIGNED_IN]) {
    for (const path of ["/", "/oauth2/start", "/oauth2/auth"]) {
      const response = await get(path, headers);
      const others = [response, signIn.received, redirect.received];
      assert.doesNotMatch(JSON.stringify(others), new RegExp(PROXY_SECRET));
    }
  }
});

test("browsers reach of oauth2-proxy only what a sign-in needs", { skip }, async () => {
  const needed = [
    "/oauth2/start?rd=%2F",
    "/oauth2/sign_in",
    "/oauth2/sign_out",
    "/oauth2/static/css/bulma.min.css",
  ];
  for (const path of needed) {
    await get(path);
    assert.deepEqual(shown(), [path]);
  }
  const others = [
    "auth",
    "userinfo",
    "callback",
    "",
    "unknown",
    "static/",
    "static/%2e%2e/auth",
    "static/../auth",
  ];
  const odd = [
    "static/css/..%2f..%2fauth",
    "static/css/%2e%2e/%2e%2e/auth",
    "start/../auth",
    "%61uth",
    "start%2f..%2fauth",
  ];
  for (const path of [...others, ...odd]
    .map((path) => `/oauth2/${path}`)
    .concat("//oauth2/auth", "/./oauth2/auth")) {
    const { headers } = await get(path, SIGNED_IN);
    assert.deepEqual(shown(), [], path);
    assert.doesNotMatch(JSON.stringify(headers), /alice/, path);
  }
});

test("a host that is not the site's has no route here", { skip }, async () => {
  assert.equal((await get("/", { host: "a48da0606867-oc.example.com", ...SIGNED_IN })).status, 404);
});
