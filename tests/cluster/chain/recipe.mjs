// The recipe of docs/sign-in.md that the chain runs: deploy/recipes, adapted to the tests' cluster.

import { readFileSync } from "node:fs";

/** The domain in the recipes, which their readers replace. */
const EXAMPLE = "opencode.example.com";
const read = (path) => readFileSync(new URL(`../../../deploy/recipes/${path}`, import.meta.url), "utf8");

/** Replaces what the text must contain. */
function replace(text, what, by) {
  if (!text.includes(what)) throw new Error(`the recipe no longer contains ${JSON.stringify(what)}`);
  return text.replaceAll(what, by);
}

const withDomain = (text, domain) => text.replaceAll(EXAMPLE, domain).replaceAll(EXAMPLE.replaceAll(".", "\\."), domain.replaceAll(".", "\\."));

/** oauth2-proxy's Deployment and Service with the image, and its configuration for this OIDC provider. */
export function oauth2Proxy({ domain, image, issuer, client, cookieSecret }) {
  const settings = replace(withDomain(read("oauth2-proxy/oauth2-proxy.cfg"), domain), `email_domains = ["example.com"]`, `email_domains = ["*"]`);
  const alpha = read("oauth2-proxy/as-check.yaml");
  const provider = [
    "providers:",
    "  - id: oidc",
    "    provider: oidc",
    "    clientID: ${CLIENT_ID}",
    "    clientSecret: ${CLIENT_SECRET}",
    "    scope: openid email",
    "    code_challenge_method: S256",
    "    oidcConfig:",
    `      issuerURL: ${issuer}`,
    "      emailClaim: email",
    "      audienceClaims: [aud]",
  ];
  const configuration = { "oauth2-proxy.cfg": settings, "alpha.yaml": `${alpha.slice(0, alpha.indexOf("providers:"))}${provider.join("\n")}\n` };
  const metadata = { name: "oauth2-proxy", namespace: "opencode" };
  return [
    JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata, data: configuration }),
    JSON.stringify({ apiVersion: "v1", kind: "Secret", metadata, stringData: { CLIENT_ID: client.id, CLIENT_SECRET: client.secret, OAUTH2_PROXY_COOKIE_SECRET: cookieSecret } }),
    replace(replace(read("oauth2-proxy/deployment.yaml"), "quay.io/oauth2-proxy/oauth2-proxy:v7.15.6", image), "replicas: 2", "replicas: 1"),
  ].join("\n---\n");
}

/**
 * Traefik's middlewares and routes. The tunnel speaks HTTP to Traefik, so its entry point is `web`, without a
 * certificate. With `sessions`, the recipe's route for all hosts of sessions is included.
 */
export function traefik({ domain, secret, sessions }) {
  let text = withDomain(read("traefik/traefik.yaml"), domain);
  text = replace(text, "the text of TRUSTED_PROXY_SECRET", secret);
  text = replace(text, "entryPoints: [websecure]", "entryPoints: [web]");
  text = replace(text, "  tls: { secretName: opencode-wildcard }\n", "");
  const hosts = ` || HostRegexp(\`^[a-z0-9-]+\\.${domain.replaceAll(".", "\\.")}$\`)`;
  return sessions ? text : replace(text, hosts, "");
}
