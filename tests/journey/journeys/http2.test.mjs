// A session over HTTP/2, as behind a sign-in proxy that speaks it to the router: the page, its events, and
// its terminal's WebSocket, which is a stream of the same connection (RFC 8441). And WebSockets of a dev
// server, with all that they negotiate, over HTTP/2 and HTTP/1.1.

import assert from "node:assert/strict";
import { once } from "node:events";
import { rmSync } from "node:fs";
import http from "node:http";
import { test } from "node:test";
import tls from "node:tls";
import WebSocket, { WebSocketServer } from "ws";
import { assertNoErrors, screenshot } from "../fixtures/browser.mjs";
import { eventually } from "../fixtures/gate.mjs";
import { startHttp2Front } from "../fixtures/http2-front.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import { temporaryFolder } from "../fixtures/paths.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

test("pages, terminals and WebSockets of a session work over HTTP/2 alone", { timeout: 180_000 }, async () => {
  const folder = temporaryFolder();
  const front = await startHttp2Front(folder);
  const domain = `localhost:${front.port}`;
  const app = await startTestApp("http2", { ROUTER_DOMAIN: domain, ROUTER_PROTO: "https" }, { browser: { args: ["--ignore-certificate-errors"] } });
  const server = await startWebSocketServer();
  let page;
  try {
    front.forwardTo(app.router.port);
    app.git.make("app", { files: { "README.md": "# App\n" } });
    const router = { port: app.router.port, url: `http://${domain}` };
    const made = await site.api(router, "POST", "/sessions", { body: { repoUrl: app.git.url("app"), branch: "main" } });
    assert.equal(made.status, 201, made.body);
    const host = `${made.json.hash}.${domain}`;
    page = await app.browser.page();
    await page.goto(`https://${host}/`);
    await opencode.waitForSession(page, host);
    const protocols = await page.evaluate(() => performance.getEntries().map((entry) => entry.nextHopProtocol).filter(Boolean));
    assert.deepEqual([...new Set(protocols)], ["h2"]);

    const terminal = await opencode.openTerminal(page);
    assert.equal(terminal.url.protocol, "wss:");
    await terminal.run("echo over-$((1 + 1))", "over-2");
    // Long enough that its frames do not fit one window of HTTP/2.
    await terminal.run("seq 1 60000 | tr '\\n' ' '; echo en''d", "60000 end");
    await screenshot(page, "http2");
    assertNoErrors(page);

    const publicHost = `${server.port}-${made.json.hash}.${domain}`;
    await page.goto(`https://${publicHost}/`);
    assert.deepEqual(await page.evaluate(useWebSocket, [`wss://${publicHost}/`]), EXPECTED);
    await server.assertSeen();
    // As in a program, which speaks HTTP/1.1 to the router.
    const options = { headers: { host: publicHost }, origin: `https://${publicHost}`, perMessageDeflate: { threshold: 0 } };
    assert.deepEqual(await useWebSocket([`ws://127.0.0.1:${app.router.port}/`, options]), EXPECTED);
    await server.assertSeen();

    // Nothing but HTTP/2 can have carried what the browser sent: the front agrees to no other protocol.
    await assert.rejects(connectAs(front.port, "http/1.1"), /no application protocol/i);
    assert.ok(front.connections > 0);
  } catch (error) {
    if (page) await screenshot(page, "http2-failed").catch(() => {});
    console.error(`The front had ${front.connections} connections and refused ${front.refused}; the router's log ends:\n${app.router.log().slice(-3000)}`);
    throw error;
  } finally {
    await app.end();
    await front.close();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

const LARGE = 6_000_000;
/** How each WebSocket of `useWebSocket` ends, and what it shows. */
const EXPECTED = [
  { compressed: true, echoed: LARGE, code: 1000, reason: "done" },
  { compressed: true, echoed: LARGE, code: 4321, reason: "closed by the server" },
  { compressed: true, echoed: LARGE, code: 1013, reason: "later" },
];

/**
 * Opens a WebSocket for each way to close one, and returns what it shows. It runs in the browser and in
 * Node.js.
 */
async function useWebSocket(address) {
  const results = [];
  for (const ending of ["client", "server:4321:closed by the server", "server:1013:later"]) {
    const socket = new WebSocket(...address);
    await new Promise((done, failed) => {
      socket.onopen = done;
      socket.onerror = () => failed(new Error("the WebSocket was refused"));
    });
    // One frame that is larger than any buffer on its way.
    const echo = new Promise((done) => (socket.onmessage = ({ data }) => done(data.length)));
    socket.send("x".repeat(6_000_000));
    const echoed = await echo;
    const closed = new Promise((done) => (socket.onclose = done));
    if (ending === "client") socket.close(1000, "done");
    else socket.send(ending);
    const { code, reason } = await closed;
    results.push({ compressed: socket.extensions.includes("permessage-deflate"), echoed, code, reason });
  }
  return results;
}

/** Starts a dev server with a page and a WebSocket that echoes messages, or closes as a message says. */
async function startWebSocketServer() {
  const server = http.createServer((_, response) => response.setHeader("content-type", "text/html").end("<!doctype html><title>Sockets</title>"));
  const sockets = new WebSocketServer({ server, perMessageDeflate: { threshold: 0 }, maxPayload: 2 * LARGE });
  const seen = [];
  sockets.on("connection", (socket, request) => {
    socket.on("message", (message, isBinary) => {
      const [ending, code, reason] = message.length < 100 ? message.toString().split(":") : [];
      if (ending === "server") socket.close(Number(code), reason);
      else socket.send(message, { binary: isBinary });
    });
    socket.on("close", (code, reason) => seen.push({ code, reason: reason.toString(), wasSmall: request.socket.bytesRead < LARGE / 10 }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: server.address().port,
    /** Asserts how the last WebSockets ended here, and that they were compressed all the way. */
    async assertSeen() {
      await eventually("all WebSockets are closed", () => seen.length === EXPECTED.length);
      assert.deepEqual(seen.splice(0), EXPECTED.map(({ code, reason }) => ({ code, reason, wasSmall: true })));
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Connects to the front with this protocol. */
function connectAs(port, protocol) {
  return new Promise((done, failed) => {
    const socket = tls.connect({ port, host: "127.0.0.1", ALPNProtocols: [protocol], rejectUnauthorized: false });
    socket.once("error", failed);
    socket.once("close", () => failed(new Error("the connection was closed")));
    // The server's answer to its end shows that the connection was accepted.
    socket.once("secureConnect", () => socket.once("data", done));
  });
}
