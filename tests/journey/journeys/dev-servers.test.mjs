// A real Vite in a session, under a domain that is not localhost: its page, hot reload, a second server, and
// who reaches them.

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { assertAccessible, assertNoErrors, inspect, screenshot } from "../fixtures/browser.mjs";
import { eventually } from "../fixtures/gate.mjs";
import { PROJECT } from "../fixtures/paths.mjs";
import { freePort, get } from "../fixtures/router.mjs";
import { startSignIn } from "../fixtures/sign-in.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

const ANN = "ann@example.com";
const BOB = "bob@example.com";
const MISSING = "0123456789ab";
const VITE = join(PROJECT, "web", "node_modules", "vite", "bin", "vite.js");

const FILES = {
  "index.html": '<!doctype html><title>App</title><h1 id="app"></h1><p id="api"></p><script type="module" src="/main.js"></script>',
  "main.js": 'import { text } from "./text.js";\nconst show = (text) => (document.querySelector("#app").textContent = text);\nshow(text);\nimport.meta.hot.accept("./text.js", (changed) => show(changed.text));\n',
  "text.js": 'export const text = "first version";\n',
  // The server of the page's API: it allows the page by the name that both of them know.
  "api.mjs": `import http from "node:http";
const [port, page] = process.argv.slice(2);
http.createServer((request, response) => {
  if (request.url === "/old") return response.writeHead(302, { location: \`http://localhost:\${port}/new\` }).end();
  response.writeHead(200, {
    "access-control-allow-origin": \`http://localhost:\${page}\`,
    "access-control-allow-credentials": "true",
    "set-cookie": "seen=1; Domain=localhost; Path=/",
  });
  response.end(\`\${request.headers.host} \${request.headers.origin} \${request.headers.cookie ?? ""}\`);
}).listen(Number(port), "127.0.0.1");
`,
};

test("Vite in a session: its page, hot reload, and who reaches it", { timeout: 180_000 }, async () => {
  assert.ok(existsSync(VITE), "Vite is not installed. Run: npm ci --prefix web");
  const signIn = await startSignIn();
  const domain = `code.test:${signIn.port}`;
  const rules = "--host-resolver-rules=MAP *.code.test 127.0.0.1, MAP code.test 127.0.0.1";
  const app = await startTestApp(
    "dev-servers",
    { IDENTITY: "headers", TRUSTED_PROXIES: "127.0.0.1/32", ROUTER_DOMAIN: domain, ROUTER_PROTO: "http" },
    { browser: { args: [rules] } },
  );
  let page;
  try {
    signIn.forwardTo(app.router.port);
    const cookie = (email) => `_oauth2_proxy=${encodeURIComponent(email)}`;
    const front = { url: `http://${domain}`, port: signIn.port };
    const as = (email) => ({ headers: { cookie: cookie(email) } });
    app.git.make("app", { files: FILES });
    const made = await site.api(front, "POST", "/sessions", { ...as(ANN), body: { repoUrl: app.git.url("app"), branch: "main" } });
    assert.equal(made.status, 201, made.body);
    const { hash } = made.json;
    const host = site.hostOf(hash, front);
    const session = () => site.getSession(front, hash, as(ANN));
    await eventually("the session runs", async () => (await session()).state === "running", 60_000);
    assert.equal((await session()).ports, undefined, "nothing listens");

    // Both servers are started by opencode, as its agent and its terminal start them.
    const repository = join(app.router.stateDir, "sessions", hash, "repo");
    const start = async (...args) => {
      const headers = { ...as(ANN).headers, "content-type": "application/json", origin: `http://${host}` };
      const body = JSON.stringify({ command: process.execPath, args, cwd: repository, title: "server" });
      const started = await get(signIn.port, host, "/pty", { method: "POST", headers, body });
      assert.equal(started.status, 200, started.body);
    };
    const [vite, api] = [await freePort(), await freePort()];
    await start(VITE, "--port", String(vite), "--strictPort");
    await start(join(repository, "api.mjs"), String(api), String(vite));
    const hostOfPort = (port, key = hash) => `${port}-${key}.${domain}`;
    const ports = [{ port: vite, url: `http://${hostOfPort(vite)}/`, process: "vite" }, { port: api, url: `http://${hostOfPort(api)}/`, process: "api" }];
    ports.sort((a, b) => a.port - b.port);
    await eventually("both servers are found", async () => (await session()).ports?.length === 2, 30_000);
    assert.deepEqual((await session()).ports, ports);

    // Without the router's mapping, Vite refuses the public name.
    assert.equal((await direct(vite, hostOfPort(vite))).status, 403);

    const cookies = [domain, hostOfPort(vite), hostOfPort(api)].map((name) => ({ name: "_oauth2_proxy", value: encodeURIComponent(ANN), url: `http://${name}` }));
    const list = await app.browser.page({ cookies });
    await site.openHome(list, front);
    const link = site.row(list, hash).getByRole("link", { name: new RegExp(`^vite\\s+${vite}$`) });
    await link.waitFor();
    await inspect(list, "dev-servers");
    await link.focus();
    const opened = list.context().waitForEvent("page");
    // A change before the WebSocket is open would reach nobody.
    const connected = list.context().waitForEvent("console", (message) => message.text().includes("[vite] connected"));
    await list.keyboard.press("Enter");
    page = await opened;
    const heading = page.locator("#app");
    await heading.filter({ hasText: "first version" }).waitFor();
    assert.equal(new URL(page.url()).host, hostOfPort(vite));
    await screenshot(page, "dev-server-page");

    // Hot reload by Vite's WebSocket: the text changes, and the page is not loaded again.
    await page.evaluate(() => (globalThis.loaded = "once"));
    await connected;
    writeFileSync(join(repository, "text.js"), readFileSync(join(repository, "text.js"), "utf8").replace("first", "second"));
    await heading.filter({ hasText: "second version" }).waitFor();
    assert.equal(await page.evaluate(() => globalThis.loaded), "once");

    // The page's API on the other port: names, redirects, cookies and CORS are those of the public hosts.
    const call = (path) =>
      page.evaluate(async (url) => {
        const answer = await fetch(url, { credentials: "include" });
        return { url: answer.url, text: await answer.text() };
      }, `http://${hostOfPort(api)}${path}`);
    assert.deepEqual(await call("/"), { url: `http://${hostOfPort(api)}/`, text: `localhost:${api} http://localhost:${vite} ` });
    assert.equal((await call("/")).text, `localhost:${api} http://localhost:${vite} seen=1`);
    const old = await get(signIn.port, hostOfPort(api), "/old", as(ANN));
    assert.deepEqual([old.status, old.headers.location], [302, `http://${hostOfPort(api)}/new`]);

    // Nobody else reaches them, and no page of another origin.
    const answer = async (key) => {
      const { status, body } = await get(signIn.port, hostOfPort(vite, key), "/", as(BOB));
      return [status, body.replace(/"requestId":"[^"]*"/, "")];
    };
    assert.deepEqual(await answer(hash), await answer(MISSING));
    assert.equal((await answer(hash))[0], 404);
    for (const origin of [`http://${host}`, `http://${hostOfPort(vite, MISSING)}`, `http://${domain}`]) {
      const { status } = await get(signIn.port, hostOfPort(vite), "/", { headers: { ...as(ANN).headers, origin } });
      assert.equal(status, 403, origin);
    }
    const attacked = await get(signIn.port, host, "/session", { headers: { ...as(ANN).headers, origin: `http://${hostOfPort(vite)}` } });
    assert.equal(attacked.status, 403, "a dev server's page does not reach opencode");
    const foreign = await freePort();
    const server = http.createServer((_, response) => response.end("not the session's")).listen(foreign, "127.0.0.1");
    assert.equal((await get(signIn.port, hostOfPort(foreign), "/", as(ANN))).status, 404, "a port of another process");
    server.close();

    // In German, and gone once the servers have ended.
    const german = await app.browser.page({ cookies, language: "de-DE" });
    await german.goto(`${front.url}/`);
    await german.getByRole("list", { name: /^Entwicklungsserver von/ }).waitFor();
    const { body } = await get(signIn.port, host, "/pty", as(ANN));
    for (const { id } of JSON.parse(body)) {
      await get(signIn.port, host, `/pty/${id}`, { method: "DELETE", headers: { ...as(ANN).headers, origin: `http://${host}` } });
    }
    await german.getByRole("list", { name: /^Entwicklungsserver von/ }).waitFor({ state: "detached" });
    assertNoErrors(list);
    assertAccessible();
  } catch (error) {
    if (page) await screenshot(page, "dev-servers-failed").catch(() => {});
    console.error(app.router.log().slice(-3000));
    throw error;
  } finally {
    await app.end();
    await signIn.close();
  }
});

/** Asks a server on this machine's loopback, whichever of its addresses it listens on. */
async function direct(port, host) {
  const ask = (address) =>
    new Promise((done, failed) => {
      http.get({ host: address, port, headers: { host }, agent: false }, (response) => {
        response.resume();
        done({ status: response.statusCode });
      }).once("error", failed);
    });
  return ask("127.0.0.1").catch(() => ask("::1"));
}
