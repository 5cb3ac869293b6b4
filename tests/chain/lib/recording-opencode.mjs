// opencode with every byte that it receives written to a file: the real opencode, behind a relay at the port
// that the router asked for.
//
//   node recording-opencode.mjs RECORD OPENCODE ARGUMENT…

import { spawn } from "node:child_process";
import { appendFileSync, createWriteStream } from "node:fs";
import net from "node:net";

const [record, opencode, ...args] = process.argv.slice(2);
const at = args.indexOf("--port");
if (args[0] !== "serve" || at < 0) {
  spawn(opencode, args, { stdio: "inherit" }).once("exit", (code) => process.exit(code ?? 1));
} else {
  const port = Number(args[at + 1]);
  const free = net.createServer().listen(0, "127.0.0.1");
  await new Promise((done) => free.once("listening", done));
  args[at + 1] = String(free.address().port);
  await new Promise((done) => free.close(done));
  // The environment is a part of what a session sees.
  appendFileSync(record, `${Object.entries(process.env).map(([name, value]) => `${name}=${value}`).join("\n")}\n`);
  const received = createWriteStream(record, { flags: "a" });
  const child = spawn(opencode, args, { stdio: "inherit" });
  child.once("exit", (code) => process.exit(code ?? 1));
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => child.kill(signal));
  net
    .createServer({ allowHalfOpen: true }, (from) => {
      const to = net.connect({ port: Number(args[at + 1]), host: "127.0.0.1", allowHalfOpen: true });
      from.on("data", (bytes) => received.write(bytes));
      from.pipe(to).pipe(from);
      for (const [one, other] of [[from, to], [to, from]]) {
        one.on("error", () => other.destroy());
        one.once("close", () => other.destroy());
      }
    })
    .listen(port, "127.0.0.1");
}
