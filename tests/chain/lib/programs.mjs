// Child processes of the recipes' tests: oauth2-proxy, nginx, Traefik.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import net from "node:net";
import { basename, join } from "node:path";
import { eventually } from "../../journey/fixtures/gate.mjs";

/** Returns the path of a program that `tests/chain/recipes` names in this variable. */
export function program(variable) {
  if (!process.env[variable]) throw new Error(`${variable} names no program. Run tests/chain/recipes, which builds it.`);
  return process.env[variable];
}

/** Starts a program that listens at `port`, with its log in `folder`, and waits until it accepts connections. */
export async function startProgram(folder, path, args, { port, env = {} }) {
  const log = createWriteStream(join(folder, `${basename(path)}.log`), { flags: "a" });
  const child = spawn(path, args, { cwd: folder, env: { PATH: process.env.PATH, HOME: folder, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      output += chunk;
      log.write(chunk);
    });
  }
  let status;
  const ended = once(child, "close").then(([code, signal]) => {
    status = code ?? signal;
  });
  await eventually(`${basename(path)} listens`, async () => {
    if (status !== undefined) throw new Error(`${basename(path)} ended with ${status}:\n${output}`);
    return accepts(port);
  });
  return {
    log: () => output,
    async stop() {
      if (status === undefined) child.kill("SIGTERM");
      const killTimer = setTimeout(() => child.kill("SIGKILL"), 10_000);
      await ended;
      clearTimeout(killTimer);
      log.end();
    },
  };
}

const accepts = (port) =>
  new Promise((done) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => done(true) || socket.destroy());
    socket.once("error", () => done(false));
  });

/** Returns different free ports: some of these programs print none, and addresses contain them. */
export async function freePorts(count) {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

/** Relays connections to a port of this machine, and keeps what it received from clients. */
export async function startRelay(port) {
  const received = [];
  const sockets = new Set();
  const server = net.createServer({ allowHalfOpen: true }, (from) => {
    const to = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    from.on("data", (bytes) => received.push(bytes));
    from.pipe(to).pipe(from);
    for (const [one, other] of [[from, to], [to, from]]) {
      sockets.add(one);
      one.on("error", () => other.destroy());
      one.once("close", () => sockets.delete(one) && other.destroy());
    }
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return {
    port: server.address().port,
    received: () => Buffer.concat(received).toString("latin1"),
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}
