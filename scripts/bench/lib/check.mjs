// Checks that a proxy does what is measured, before it is measured.
import { Agent } from "node:http";
import { request } from "./router.mjs";
import { BODY } from "./upstream.mjs";

const headersOf = (target) => Object.fromEntries(target.headers.map((line) => line.split(": ")));

/**
 * Checks answers and uploads through a proxy in front of nginx. Returns whether it uses connections to the
 * upstream again, and throws if it answers wrongly or adds no X-Forwarded-For.
 */
export async function checkProxy(target) {
  const ask = (path, more = {}) =>
    request(target.port, path, { host: target.host, headers: headersOf(target), ...more });
  const expect = (is, message) => {
    if (!is) throw new Error(`${target.name} ${message}`);
  };
  const root = await ask("/");
  expect(
    root.status === 200 && root.text === BODY,
    `answered / with ${root.status} and ${JSON.stringify(root.text.slice(0, 200))}`,
  );
  const file = await ask("/files/64k");
  expect(
    file.status === 200 && file.bytes.length === 64 << 10 && !file.bytes.some(Boolean),
    "changed a body of 64 KiB",
  );
  const upload = await ask("/upload", { method: "POST", body: Buffer.alloc(1 << 20, "x") });
  expect(upload.status === 200 && upload.text === BODY, `answered an upload with ${upload.status}`);
  const checks = [];
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  for (let count = 0; count < 20; count++) checks.push((await ask("/check", { agent })).text.split(" "));
  agent.destroy();
  if (target.name === "direct") return true;
  // Envoy replaces a loopback address by the machine's own.
  for (const [, , forwarded] of checks)
    expect(/^[\d.]+$/.test(forwarded), `sent X-Forwarded-For: ${forwarded}`);
  return new Set(checks.map(([connection]) => connection)).size < checks.length / 2;
}
