import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { digestOf, parse } from "./registry-has.mjs";

const DIGEST = `sha256:${"a".repeat(64)}`;
const home = mkdtempSync(join(tmpdir(), "registry-has-"));
const servers = [];
after(() => {
  servers.forEach((server) => server.close());
  rmSync(home, { recursive: true });
});

/** Starts a server on loopback; returns `host:port`. */
async function serve(handler) {
  const server = createServer(handler);
  servers.push(server);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${server.address().port}`;
}

/** A registry as ghcr.io is one: a token for everybody, which shows a private image only to its users. */
async function tokenRegistry({ isPublic }) {
  const requests = [];
  const host = await serve((request, response) => {
    const url = new URL(request.url, "http://registry");
    requests.push({ path: url.pathname, scope: url.searchParams.get("scope"), authorization: request.headers.authorization });
    const user = request.headers.authorization === `Basic ${btoa("ci:right")}`;
    if (url.pathname === "/token") {
      if (!user && !isPublic) return response.writeHead(403).end("{}");
      return response.end(JSON.stringify({ token: "t0ken" }));
    }
    if (request.headers.authorization !== "Bearer t0ken") {
      return response.writeHead(401, { "www-authenticate": `Bearer realm="http://${host}/token",service="registry",scope="repository:x:pull"` }).end();
    }
    if (!url.pathname.endsWith("/manifests/1.0")) return response.writeHead(404).end();
    response.writeHead(200, { "docker-content-digest": DIGEST }).end();
  });
  return { host, requests };
}

const environment = (variables = {}) => ({ HOME: home, ...variables });

test("a public image of a registry with tokens is found without a login", async () => {
  const { host, requests } = await tokenRegistry({ isPublic: true });
  assert.equal(await digestOf(`${host}/acme/router:1.0`, environment()), DIGEST);
  assert.equal(requests.find(({ path }) => path === "/token").scope, "repository:acme/router:pull");
  assert.equal(await digestOf(`${host}/acme/router:2.0`, environment()), undefined);
});

test("a private image needs a login, and a wrong one is named", async () => {
  const { host } = await tokenRegistry({ isPublic: false });
  const image = `${host}/acme/router:1.0`;
  await assert.rejects(digestOf(image, environment()), /does not show acme\/router without a login/);
  await assert.rejects(digestOf(image, environment({ REGISTRY_USER: "ci", REGISTRY_PASSWORD: "wrong" })), /the login there is wrong/);
  assert.equal(await digestOf(image, environment({ REGISTRY_USER: "ci", REGISTRY_PASSWORD: "right" })), DIGEST);
});

test("the login that docker keeps is used", async () => {
  const { host } = await tokenRegistry({ isPublic: false });
  writeFileSync(join(home, "config.json"), JSON.stringify({ auths: { [host]: { auth: btoa("ci:right") } } }));
  assert.equal(await digestOf(`${host}/acme/router:1.0`, environment({ DOCKER_CONFIG: home })), DIGEST);
});

test("a login goes to no server without encryption", async () => {
  const host = await serve((_, response) => response.writeHead(401, { "www-authenticate": 'Bearer realm="http://registry.example.test/token"' }).end());
  const login = environment({ REGISTRY_USER: "ci", REGISTRY_PASSWORD: "right" });
  await assert.rejects(digestOf(`${host}/acme/router:1.0`, login), /not encrypted/);
});

test("a registry that fails or is not there is not taken for an empty one", async () => {
  const failing = await serve((_, response) => response.writeHead(503).end());
  await assert.rejects(digestOf(`${failing}/acme/router:1.0`, environment()), /answered 503/);
  await assert.rejects(digestOf("127.0.0.1:1/acme/router:1.0", environment()), /could not be reached/);
});

test("only full names with a tag or digest are accepted", () => {
  assert.deepEqual(parse("ghcr.io/acme/router:1.0"), { registry: "ghcr.io", name: "acme/router", reference: "1.0" });
  assert.deepEqual(parse("localhost:5000/router:1.0").registry, "localhost:5000");
  assert.equal(parse(`ghcr.io/acme/router:1.0@${DIGEST}`).reference, DIGEST);
  for (const wrong of ["router", "router:1.0", "acme/router:1.0", "ghcr.io/acme/router", "ghcr.io/Acme/router:1.0", "ghcr.io/a b:1", "ghcr.io/acme/router:", ""]) {
    assert.throws(() => parse(wrong), /not the full name/, wrong);
  }
});
