// An application in a session that keeps every byte it receives.

import { inPod } from "../journey/cluster.mjs";
import { eventually } from "../../journey/fixtures/gate.mjs";

const FILE = "/tmp/received";
/** Answers each request with what it received, and closes the connection. */
const PROGRAM = `
const fs = require("node:fs");
require("node:net").createServer((socket) => {
  let text = "";
  socket.on("error", () => {});
  socket.on("data", (data) => {
    fs.appendFileSync("${FILE}", data);
    text += data.toString("latin1");
    if (!text.includes("\\r\\n\\r\\n")) return;
    socket.end("HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nConnection: close\\r\\nContent-Length: " + text.length + "\\r\\n\\r\\n" + text);
  });
}).listen(Number(process.argv[1]), "0.0.0.0", () => fs.writeFileSync("${FILE}", ""));
`;

/** Starts it in the session's Pod; `bytes()` returns all that it received. */
export async function startEcho(hash, port) {
  await inPod(hash, "sh", "-c", `setsid node -e "$0" ${port} </dev/null >/dev/null 2>&1 &`, PROGRAM);
  await eventually("the application listens", () => inPod(hash, "test", "-e", FILE).then(() => true));
  return { bytes: () => inPod(hash, "cat", FILE) };
}
