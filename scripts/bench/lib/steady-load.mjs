// An upstream and a client that always send the same bytes in the same order, for counting instructions.
import { connect, createServer } from "node:net";

const END = Buffer.from("\r\n\r\n");
const ANSWER = Buffer.from(
  "HTTP/1.1 200 OK\r\nserver: nginx\r\ndate: Thu, 26 Nov 2026 08:00:00 GMT\r\ncontent-type: text/plain\r\n" +
    'content-length: 12\r\netag: "65f1a2b3-c"\r\ncache-control: no-cache\r\n\r\nhello world\n',
);

/** What Chromium sends with a page's `fetch`, beside Host and Connection, and two cookies. */
export const BROWSER = [
  'sec-ch-ua: "Chromium";v="142", "Not A(Brand";v="24"',
  "sec-ch-ua-mobile: ?0",
  'sec-ch-ua-platform: "Linux"',
  "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
  "Accept: */*",
  "Sec-Fetch-Site: same-origin",
  "Sec-Fetch-Mode: cors",
  "Sec-Fetch-Dest: empty",
  "Accept-Encoding: gzip, deflate, br, zstd",
  "Accept-Language: en-US,en;q=0.9",
  `Cookie: _oauth2_proxy=${"ZjE4c2Vzc2lvbg".repeat(12)}; theme=dark`,
];

/** Starts a server on 127.0.0.1, which this process does not wait for, that answers each request without a body; `answers` are of other paths. */
export function startUpstream(port = 0, answers = {}) {
  const server = createServer((socket) => {
    let pending = Buffer.alloc(0);
    socket.setNoDelay().on("error", () => {});
    socket.on("data", (data) => {
      pending = pending.length ? Buffer.concat([pending, data]) : data;
      for (let at = pending.indexOf(END); at >= 0; at = pending.indexOf(END)) {
        const path = pending.subarray(0, 200).toString("latin1").split(" ")[1];
        socket.write(answers[path] ?? ANSWER);
        pending = pending.subarray(at + END.length);
      }
    });
  });
  return new Promise((resolve) => server.unref().listen(port, "127.0.0.1", () => resolve(server)));
}

/** Sends `count` requests on one keep-alive connection; fails if one is not answered by 200. */
function onOneConnection(port, bytes, count) {
  return new Promise((resolve, fail) => {
    const socket = connect(port, "127.0.0.1").setNoDelay();
    let left = count;
    let answer = Buffer.alloc(0);
    let total;
    const failed = (reason) => {
      socket.destroy();
      fail(
        new Error(
          `${reason}; ${left} of ${count} requests were left. The last answer: ${answer.subarray(0, 300)}`,
        ),
      );
    };
    socket.on("error", failed).on("end", () => left > 0 && failed("the proxy closed the connection"));
    socket.on("data", (data) => {
      answer = answer.length ? Buffer.concat([answer, data]) : data;
      if (total === undefined) {
        const at = answer.indexOf(END);
        if (at < 0) return;
        const head = answer.subarray(0, at).toString("latin1");
        const length = /\r\ncontent-length: (\d+)/i.exec(head);
        if (!head.startsWith("HTTP/1.1 200 ") || !length) return failed("a request was not answered by 200");
        total = at + END.length + Number(length[1]);
      }
      if (answer.length < total) return;
      answer = Buffer.alloc(0);
      total = undefined;
      left -= 1;
      if (left > 0) socket.write(bytes);
      else socket.end(() => resolve());
    });
    socket.on("connect", () => socket.write(bytes));
  });
}

/** Sends `count` requests in all, on `connections` keep-alive connections, or each on one of its own. */
export async function send(port, { host, headers = [], connections, count, reconnect = false }) {
  const connection = `Connection: ${reconnect ? "close" : "keep-alive"}`;
  const bytes = Buffer.from(
    ["GET / HTTP/1.1", `Host: ${host}`, connection, ...BROWSER, ...headers, "", ""].join("\r\n"),
  );
  const each = Math.ceil(count / connections);
  const client = async () => {
    if (!reconnect) return onOneConnection(port, bytes, each);
    for (let sent = 0; sent < each; sent++) await onOneConnection(port, bytes, 1);
  };
  await Promise.all(Array.from({ length: connections }, client));
}
