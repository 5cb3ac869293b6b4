// A stand-in for Cloudflare's edge together with cloudflared: it serves exactly the DNS records and the
// tunnel rules that Cloudflare's API has.
//
// A host resolves only if a proxied CNAME record, exact or wildcard, leads to the tunnel: for any other host
// the TLS handshake fails, as if the name did not exist. The tunnel's rules are tried from top to bottom; the
// first that matches names the service. Names of Services are resolved by the cluster's DNS. Browsers speak
// HTTP/2 to it, and HTTP/1.1 for WebSockets; it speaks HTTP/1.1 to the service.

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { Resolver } from "node:dns/promises";
import { readFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { join } from "node:path";

/** How old the edge's copy of the API's documents may be, in milliseconds. */
const MAX_AGE = 100;
/** The address that the edge reports for every browser. */
export const CLIENT_ADDRESS = "203.0.113.7";

/** Headers of one connection; `Connection` can name further ones. */
const HOP_BY_HOP = new Set(["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]);
/** Headers that Cloudflare sets itself, whatever the client sent. */
const SET_BY_EDGE = new Set(["cf-connecting-ip", "cf-ray", "cf-visitor", "cdn-loop", "x-forwarded-proto", "x-forwarded-for"]);

/**
 * Starts the edge on a free port. `load()` returns what Cloudflare's API has now: `{ records, ingress }`;
 * while it fails, the edge continues with what it had, as the real one does. `dns` is the server that
 * resolves the services' names. `folder` is for the certificate of the `domain`.
 */
export async function startEdge({ load, tunnel, domain, dns, folder, address = "127.0.0.1" }) {
  const documents = keep(load);
  const resolve = resolver(dns);
  const agent = new http.Agent({ keepAlive: true });
  const connections = new Set();

  const isKnown = async (name) => {
    const { records } = await documents();
    // A wildcard does not apply to a name that has a record of its own (RFC 4592).
    const own = records.filter((record) => record.name === name);
    const found = own.length ? own : records.filter((record) => covers(record.name, name));
    return found.some((record) => leadsTo(record, tunnel));
  };

  /** The response's status if no service serves the request, else the service's address. */
  const route = async (request) => {
    const name = hostOf(request).replace(/:\d+$/, "").toLowerCase();
    if (!(await isKnown(name))) return { status: 530 };
    const rule = (await documents()).ingress.find((rule) => matches(rule, name, request.url));
    if (!rule) return { status: 503 };
    const [, status] = rule.service.match(/^http_status:(\d+)$/) ?? [];
    if (status) return { status: Number(status) };
    const url = new URL(rule.service);
    return { host: await resolve(url.hostname), port: Number(url.port || 80) };
  };

  const server = http2.createSecureServer({
    ...certificate(folder, domain),
    allowHTTP1: true,
    async SNICallback(name, done) {
      try {
        done((await isKnown(name.toLowerCase())) ? null : new Error(`${name} does not exist`));
      } catch (error) {
        done(error);
      }
    },
  });
  server.on("request", async (request, response) => {
    try {
      const { status, host, port } = await route(request);
      if (status) return response.writeHead(status, { "content-type": "text/plain", "x-edge": "answered" }).end(`error code: ${status}\n`);
      const upstream = http.request({ host, port, agent, method: request.method, path: request.url, headers: forwarded(request) });
      upstream.once("response", (answer) => {
        response.writeHead(answer.statusCode, byName(withoutHops(answer.rawHeaders)));
        answer.on("error", () => response.destroy());
        answer.pipe(response);
      });
      upstream.on("error", () => (response.headersSent ? response.destroy() : response.writeHead(502).end("error code: 502\n")));
      response.once("close", () => upstream.destroy());
      request.pipe(upstream);
    } catch (error) {
      response.writeHead(502, { "content-type": "text/plain" }).end(`error code: 502 (${error.message})\n`);
    }
  });
  server.on("connection", (socket) => {
    connections.add(socket);
    socket.once("close", () => connections.delete(socket));
  });
  server.on("upgrade", async (request, socket, head) => {
    socket.on("error", () => {});
    try {
      const { status, host, port } = await route(request);
      if (status) return socket.end(`HTTP/1.1 ${status} Error\r\nConnection: close\r\n\r\n`);
      const upstream = net.connect(port, host, () => {
        const headers = [...forwarded(request), "Connection", "Upgrade", "Upgrade", request.headers.upgrade];
        let text = `${request.method} ${request.url} HTTP/1.1\r\n`;
        for (let n = 0; n < headers.length; n += 2) text += `${headers[n]}: ${headers[n + 1]}\r\n`;
        upstream.write(`${text}\r\n`);
        upstream.write(head);
        socket.pipe(upstream).pipe(socket);
      });
      upstream.on("error", () => socket.destroy());
      upstream.once("close", () => socket.destroy());
      socket.once("close", () => upstream.destroy());
    } catch {
      socket.destroy();
    }
  });
  await new Promise((done) => server.listen(0, address, done));
  return {
    address,
    port: server.address().port,
    /** Whether the name resolves. */
    isKnown,
    async close() {
      for (const socket of connections) socket.destroy();
      agent.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}

/** Whether the record is one that Cloudflare's edge answers for and sends to the tunnel. */
const leadsTo = ({ type, proxied, content }, tunnel) => type === "CNAME" && proxied && content === `${tunnel}.cfargotunnel.com`;

/** Whether the pattern of a record or rule, a name or `*.` and a domain, covers the name. */
function covers(pattern, name) {
  return pattern.startsWith("*.") ? name.endsWith(pattern.slice(1)) : pattern.toLowerCase() === name;
}

/** Whether the tunnel's rule is for this name and path. */
function matches({ hostname, path }, name, url) {
  if (hostname && hostname !== "*" && !covers(hostname, name)) return false;
  return !path || new RegExp(path).test(url.split("?")[0]);
}

/** Returns a function that loads the documents, at most each `MAX_AGE` ms; while that fails it returns the last ones. */
function keep(load) {
  let latest;
  let loading;
  let loadedAt = 0;
  return async () => {
    if (latest && Date.now() - loadedAt < MAX_AGE) return latest;
    loading ??= load()
      .then((documents) => (latest = documents))
      .catch((error) => {
        if (!latest) throw error;
      })
      .finally(() => {
        loadedAt = Date.now();
        loading = undefined;
      });
    await loading;
    return latest;
  };
}

/** Returns a function that resolves a name with the given server; addresses are kept. */
function resolver(dns) {
  const server = new Resolver({ timeout: 1000, tries: 5 });
  if (dns) server.setServers([dns]);
  const known = new Map();
  return async (name) => {
    if (net.isIP(name)) return name;
    if (!known.has(name)) known.set(name, (await server.resolve4(name))[0]);
    return known.get(name);
  };
}

/** The request's raw headers. HTTP/2 may send each cookie by itself; HTTP/1.1 has one header for all. */
function oneCookie({ rawHeaders, headers, httpVersionMajor }) {
  if (httpVersionMajor !== 2 || !headers.cookie) return rawHeaders;
  const rest = rawHeaders.flatMap((name, n) => (n % 2 || name === "cookie" ? [] : [name, rawHeaders[n + 1]]));
  return [...rest, "Cookie", headers.cookie];
}

const hostOf = (request) => request.headers[":authority"] ?? request.headers.host ?? "";

/** The request's headers as the tunnel sends them, as a flat list of names and values. */
function forwarded(request) {
  const headers = withoutHops(oneCookie(request), SET_BY_EDGE);
  if (request.httpVersionMajor === 2) headers.push("Host", hostOf(request));
  const before = request.headers["x-forwarded-for"];
  return [
    ...headers,
    ...["CF-Connecting-IP", CLIENT_ADDRESS, "CF-Ray", `${randomBytes(8).toString("hex")}-TST`, "CF-Visitor", '{"scheme":"https"}'],
    ...["Cdn-Loop", "cloudflare; loops=1", "X-Forwarded-Proto", "https"],
    // Cloudflare adds the address to what the client sent.
    ...["X-Forwarded-For", before ? `${before}, ${CLIENT_ADDRESS}` : CLIENT_ADDRESS],
  ];
}

/** The raw headers without those of the connection, and without `others`. */
function withoutHops(raw, others = new Set()) {
  const named = new Set();
  for (let n = 0; n < raw.length; n += 2) {
    if (raw[n].toLowerCase() === "connection") for (const name of raw[n + 1].split(",")) named.add(name.trim().toLowerCase());
  }
  return raw.flatMap((_, n) => {
    if (n % 2) return [];
    const name = raw[n].toLowerCase();
    return HOP_BY_HOP.has(name) || named.has(name) || others.has(name) || name.startsWith(":") ? [] : [raw[n], raw[n + 1]];
  });
}

/** The flat list as an object; a name that occurs several times has a list of values. */
function byName(list) {
  const headers = {};
  for (let n = 0; n < list.length; n += 2) {
    const [name, value] = [list[n].toLowerCase(), list[n + 1]];
    headers[name] = name in headers ? [headers[name], value].flat() : value;
  }
  return headers;
}

/** Makes a certificate for the domain and the names below it. */
function certificate(folder, domain) {
  const [key, cert] = ["edge.key", "edge.crt"].map((name) => join(folder, name));
  const names = `subjectAltName=DNS:${domain},DNS:*.${domain}`;
  const options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", `/CN=${domain}`, "-addext", names];
  execFileSync("openssl", ["req", "-x509", ...options, "-keyout", key, "-out", cert], { stdio: "pipe" });
  return { key: readFileSync(key), cert: readFileSync(cert) };
}
