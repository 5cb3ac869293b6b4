// The router with local processes, and one session whose opencode is fake-opencode.mjs.
import http from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, scratchFolder } from "./processes.mjs";

/** Sends a request to 127.0.0.1, without an `agent` on a connection of its own; resolves with the answer. */
export const request = (
  port,
  path,
  { host = `localhost:${port}`, method = "GET", headers = {}, body, agent = false } = {},
) =>
  new Promise((resolve, fail) => {
    const all = { host, "content-type": "application/json", "sec-fetch-site": "same-origin", ...headers };
    const outgoing = http.request(
      { port, host: "127.0.0.1", path, method, headers: all, agent },
      (response) => {
        const parts = [];
        response.on("data", (data) => parts.push(data)).on("error", fail);
        response.on("end", () => {
          const bytes = Buffer.concat(parts);
          resolve({ status: response.statusCode, headers: response.headers, bytes, text: bytes.toString() });
        });
      },
    );
    outgoing.on("error", fail).end(body);
  });

/** Returns the environment of a router called `name`, and its port. */
export async function routerSettings(name, more = {}) {
  const [port, health] = [await freePort(), await freePort()];
  const env = {
    BACKEND: "local",
    PORT: String(port),
    HEALTH_PORT: String(health),
    STATE_DIR: join(scratchFolder(), name),
    OPENCODE_BIN: fileURLToPath(new URL("../fake-opencode.mjs", import.meta.url)),
    LOG_LEVEL: "warn",
    ...more,
  };
  return { port, env };
}

export const routerAnswers = async (port) => (await request(port, "/api/sessions")).status === 200;

/** Creates a session and waits until it runs; returns its host name. */
export async function createSession(port) {
  const { hash } = JSON.parse((await request(port, "/api/sessions", { method: "POST", body: "{}" })).text);
  const deadline = Date.now() + 60_000;
  for (;;) {
    const { state } = JSON.parse((await request(port, `/api/sessions/${hash}`)).text);
    if (state === "running") return `${hash}.localhost:${port}`;
    if (Date.now() > deadline) throw new Error(`the session is ${state} after a minute, not running`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
