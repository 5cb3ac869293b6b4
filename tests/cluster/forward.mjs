#!/usr/bin/env node
// Forwards a port of this machine's loopback into the cluster's network while it runs.
//
//   tests/cluster/forward.mjs KUBECONFIG|RUN ADDRESS:PORT [FILE]
//
// Prints the port of 127.0.0.1 that the kernel chose (or writes it to FILE). A socket belongs to the network
// namespace that it was created in: this process listens outside, and passes the socket to a copy of itself
// inside.

import { spawn } from "node:child_process";
import { readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { dirname, join } from "node:path";

/** Accepts from the socket with the number 3 and connects each to the target, within the namespace this runs in. */
function inside(host, port) {
  const serve = (outer) => {
    const inner = connect({ host, port: Number(port), allowHalfOpen: true });
    for (const [from, to] of [[outer, inner], [inner, outer]]) {
      from.setNoDelay(true).pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
  };
  createServer({ allowHalfOpen: true }, serve).listen({ fd: 3 });
}

function outside(run, target, file) {
  const state = statSync(run).isDirectory() ? run : dirname(run);
  const first = readFileSync(join(state, "first-process"), "utf8").trim();
  const [host, port] = target.split(":");
  const server = createServer().listen(0, "127.0.0.1", () => {
    const argv = ["--net=/proc/" + first + "/ns/net", "setpriv", "--pdeathsig", "KILL", process.execPath, import.meta.filename, "--inside", host, port];
    const child = spawn("nsenter", argv, { stdio: ["ignore", "inherit", "inherit", server._handle.fd] });
    child.once("exit", (code) => process.exit(code ?? 1));
    const chosen = String(server.address().port);
    server.close(); // the copy has the socket now, and is the only one to accept
    if (!file) console.log(chosen);
    else {
      writeFileSync(`${file}.new`, chosen);
      renameSync(`${file}.new`, file);
    }
  });
}

const [first, ...rest] = process.argv.slice(2);
if (first === "--inside") inside(...rest);
else if (rest.length) outside(first, ...rest);
else {
  console.error("Usage: tests/cluster/forward.mjs KUBECONFIG ADDRESS:PORT");
  process.exit(1);
}
