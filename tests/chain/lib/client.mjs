// A browser without a page: requests by URL, with a jar of cookies. Every host is on loopback.

import http from "node:http";

export class Client {
  #jar = new Map();

  /** Returns the cookies of a host as one header, or "". */
  cookies(host) {
    const name = host.split(":")[0];
    return [...this.#jar.values()]
      .filter(({ domain, hostOnly }) => (hostOnly ? name === domain : name === domain || name.endsWith(`.${domain}`)))
      .map(({ pair }) => pair)
      .join("; ");
  }

  /** Returns the values of all cookies. */
  values() {
    return [...this.#jar.values()].map(({ pair }) => pair.slice(pair.indexOf("=") + 1)).filter((value) => value.length > 8);
  }

  #store(host, headers) {
    for (const line of headers["set-cookie"] ?? []) {
      const [pair, ...attributes] = line.split(/; */);
      const attribute = (name) => attributes.find((one) => one.toLowerCase().startsWith(`${name}=`))?.slice(name.length + 1);
      const domain = attribute("domain")?.replace(/^\./, "");
      const path = attribute("path") ?? "/";
      const key = `${domain ?? host} ${path} ${pair.split("=")[0]}`;
      if (attribute("max-age") === "0" || Date.parse(attribute("expires") ?? "") < Date.now()) this.#jar.delete(key);
      else this.#jar.set(key, { pair, domain: domain ?? host.split(":")[0], hostOnly: !domain });
    }
  }

  /**
   * Sends one request; `path` replaces the URL's path as it is, `port` its port. Resolves with the head and the
   * body or, with `stream`, the response to read from.
   */
  request(url, { method = "GET", headers = {}, body, path, port = new URL(url).port, stream = false } = {}) {
    const { host, pathname, search } = new URL(url);
    const cookie = this.cookies(host);
    return new Promise((done, failed) => {
      const options = { host: "127.0.0.1", port, method, path: path ?? pathname + search, agent: false };
      const request = http.request({ ...options, headers: { host, ...(cookie && { cookie }), ...headers } }, (response) => {
        this.#store(host, response.headers);
        const answer = { url, status: response.statusCode, headers: response.headers, rawHeaders: response.rawHeaders };
        if (stream) return done({ ...answer, response, close: () => request.destroy() });
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("error", failed);
        response.on("end", () => done({ ...answer, body: Buffer.concat(chunks).toString() }));
      });
      request.on("upgrade", (response, socket) => {
        socket.destroy();
        done({ url, status: response.statusCode, headers: response.headers, rawHeaders: response.rawHeaders, body: "" });
      });
      request.setTimeout(20_000, () => request.destroy(new Error(`${method} ${url} was not answered within 20 s`)));
      request.once("error", failed);
      request.end(body);
    });
  }

  /** Sends a request as a browser that opens a page, and follows redirects to the last answer. */
  async open(url, options = {}) {
    const asPage = { accept: "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "sec-fetch-site": "none" };
    let answer = await this.request(url, { ...options, headers: { ...asPage, ...options.headers } });
    for (let n = 0; n < 12 && answer.status >= 300 && answer.status < 400; n++) {
      answer = await this.request(new URL(answer.headers.location, answer.url).href, { headers: asPage });
    }
    return answer;
  }

  /** Opens a page, signs in at the provider where that asks, and returns the page that follows. */
  async signIn(url, email) {
    const form = await this.open(url);
    if (!form.url.includes("/interaction/")) throw new Error(`${url} led to ${form.url} (${form.status}), not to the provider:\n${form.body}`);
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    return this.open(form.url, { method: "POST", headers, body: new URLSearchParams({ email }).toString() });
  }
}
