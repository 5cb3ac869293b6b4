#!/usr/bin/env node
// An OIDC provider with a fixed list of users, for oauth2-proxy's `--provider=oidc`. The protocol is npm's
// oidc-provider; this file adds the users and the page that asks who signs in.
//
//   node oidc-provider.mjs --listen 127.0.0.1:0 --redirect-uri http://opencode.example.test/oauth2/callback
//
// prints {"issuer": "http://127.0.0.1:40123"} on one line as soon as it answers. All state is in memory.
// `--help` lists the flags.

import http from "node:http";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import Provider from "oidc-provider";

export const USERS = ["alice@example.test", "bob@example.test"];
export const CLIENT = { id: "opencode", secret: "secret-of-the-client" };

const FLAGS = {
  listen: { type: "string", default: "127.0.0.1:0", help: "address and port; port 0 is a free one" },
  issuer: { type: "string", help: "the provider's address for browsers and for oauth2-proxy (default: http://<listen>)" },
  "redirect-uri": { type: "string", multiple: true, help: "where browsers return to; may be repeated" },
  help: { type: "boolean", default: false, help: "print this text" },
};

/**
 * Starts the provider. `issued()` returns every access token, refresh token and ID token that it issued,
 * so that a test can search for them; over HTTP the same list is at `/issued`. `names` are the users' names, by
 * address: a long one makes a large ID token.
 */
export async function startOidcProvider({ host = "127.0.0.1", port = 0, issuer, redirectUris, clients, users = USERS, names = {} }) {
  const issued = [];
  let handle = (_request, response) => response.writeHead(503).end();
  const server = http.createServer((request, response) => handle(request, response));
  await new Promise((done, failed) => server.once("error", failed).listen(port, host, done));
  const address = issuer ?? `http://${host.includes(":") ? `[${host}]` : host}:${server.address().port}`;

  const provider = new Provider(address, {
    clients: clients ?? [{ client_id: CLIENT.id, client_secret: CLIENT.secret, redirect_uris: redirectUris }],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    // oauth2-proxy reads the claims from the ID token.
    conformIdTokenClaims: false,
    scopes: ["openid", "email", "profile", "offline_access"],
    pkce: { required: () => false },
    cookies: { keys: ["a key for tests"] },
    ttl: { Session: 3600, Interaction: 3600, Grant: 3600, AccessToken: 3600, IdToken: 3600 },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_context, id) =>
      users.includes(id) && { accountId: id, claims: () => ({ sub: id, email: id, email_verified: true, name: names[id] ?? id.split("@")[0] }) },
    // Nobody is asked for consent.
    async loadExistingGrant({ oidc }) {
      const existing = oidc.session.grantIdFor(oidc.client.clientId);
      if (existing) return provider.Grant.find(existing);
      const grant = new provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
      grant.addOIDCScope("openid email profile offline_access");
      await grant.save();
      return grant;
    },
    renderError(context, out, error) {
      context.type = "text";
      context.body = `${Object.values(out).join(": ")}\n${error.stack}\n`;
    },
  });
  provider.proxy = true;
  const callback = provider.callback();

  const signIn = async (request, response, email) => {
    if (!users.includes(email)) {
      response.writeHead(403, { "content-type": "text/plain" }).end(`${email} is not a user here.\n`);
    } else {
      await provider.interactionFinished(request, response, { login: { accountId: email } }, { mergeWithLastSubmission: false });
    }
  };
  handle = async (request, response) => {
    const { pathname } = new URL(request.url, address);
    try {
      if (pathname === "/issued") {
        response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(issued));
      } else if (!pathname.startsWith("/interaction/")) {
        if (pathname === "/token") record(response, issued);
        callback(request, response);
      } else if (request.method === "POST") {
        let body = "";
        for await (const chunk of request) body += chunk;
        await signIn(request, response, new URLSearchParams(body).get("email"));
      } else {
        const { params } = await provider.interactionDetails(request, response);
        if (params.login_hint) await signIn(request, response, params.login_hint);
        else response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(loginPage(users));
      }
    } catch (error) {
      if (!response.headersSent) response.writeHead(500, { "content-type": "text/plain" });
      response.end(`${error.stack}\n`);
    }
  };
  return {
    issuer: address,
    issued: () => [...issued],
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

/** Adds the tokens in the token endpoint's answer to `issued`. */
function record(response, issued) {
  const end = response.end;
  response.end = function (body, ...rest) {
    try {
      const { access_token, refresh_token, id_token } = JSON.parse(body);
      issued.push(...[access_token, refresh_token, id_token].filter(Boolean));
    } catch {
      // An answer without tokens.
    }
    return end.call(this, body, ...rest);
  };
}

const loginPage = (users) => `<!doctype html>
<html lang="en"><title>Sign in</title>
<h1>Sign in</h1>
<form method="post">
${users.map((user) => `<p><button name="email" value="${user}">${user}</button></p>`).join("\n")}
</form></html>
`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: FLAGS });
  if (values.help || !values["redirect-uri"]) {
    for (const [name, { help }] of Object.entries(FLAGS)) console.log(`  --${name.padEnd(14)} ${help}`);
    process.exit(values.help ? 0 : 1);
  }
  const [, host, port] = values.listen.match(/^\[?(.*?)\]?:(\d+)$/) ?? [];
  const { issuer } = await startOidcProvider({ host, port: Number(port), issuer: values.issuer, redirectUris: values["redirect-uri"] });
  console.log(JSON.stringify({ issuer }));
}
