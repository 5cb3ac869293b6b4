// names-asked.mjs ADDRESS FILE: a DNS server on that address, port 53, that knows no name and appends each
// queried name to a file. A download would show up as a query.

import { createSocket } from "node:dgram";
import { appendFileSync, writeFileSync } from "node:fs";

const [address, file] = process.argv.slice(2);
const server = createSocket("udp4");
server.on("message", (question, from) => {
  const labels = [];
  for (let at = 12; question[at]; at += question[at] + 1) labels.push(question.toString("latin1", at + 1, at + 1 + question[at]));
  appendFileSync(file, `${labels.join(".")}\n`);
  const answer = Buffer.from(question);
  answer.writeUInt16BE(0x8183, 2); // there is no such name
  server.send(answer, from.port, from.address);
});
server.bind(53, address, () => writeFileSync(file, ""));
