#!/usr/bin/env node
// Checks that images are in their registry: by the registry's API (OCI distribution specification), without
// pulling them.
//
//   node scripts/registry-has.mjs ghcr.io/acme/opencode-router:0.1.0-main.1a2b3c4 …
//
// Prints each image with its digest. Exit code 1: at least one is missing; 2: a registry could not be asked.
//
// Credentials: REGISTRY_USER and REGISTRY_PASSWORD; for ghcr.io also GHCR_USER and GITHUB_PAT; else those
// that docker, podman or buildah keep after a login. Registries on this machine's loopback speak plain HTTP.

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const TIMEOUT = 15_000;
const MANIFESTS = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

/** An error whose message is printed without a stack. */
class UserError extends Error {}

/** Splits `registry/name:tag[@digest]`; the registry must be named. */
export function parse(image) {
  const match = /^([a-z0-9.-]+(?::\d+)?|\[[0-9a-f:]+\](?::\d+)?)\/([a-z0-9._/-]+?)(?::([A-Za-z0-9_][\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$/.exec(image);
  if (!match || !(match[3] || match[4]) || !/[.:]|^localhost$/.test(match[1])) {
    throw new UserError(`${image} is not the full name of an image with its tag, such as ghcr.io/acme/opencode-router:0.1.0`);
  }
  return { registry: match[1], name: match[2], reference: match[4] ?? match[3] };
}

const isLoopback = (host) => /^(localhost|127\.[\d.]+|\[::1\])(:\d+)?$/.test(host);

/** Returns the digest of an image, or undefined if the registry does not have it (or does not show it to us). */
export async function digestOf(image, environment = process.env) {
  const { registry, name, reference } = parse(image);
  const url = `${isLoopback(registry) ? "http" : "https"}://${registry}/v2/${name}/manifests/${reference}`;
  const head = (authorization) => request(registry, url, { method: "HEAD", headers: { accept: MANIFESTS, ...authorization } });
  let response = await head({});
  if (response.status === 401) {
    const credentials = await credentialsFor(registry, environment);
    response = await head(await authorize(registry, name, response.headers.get("www-authenticate") ?? "", credentials));
    // Without a login, a private image looks like a missing one.
    if (response.status === 401 || response.status === 403) {
      throw new UserError(
        credentials
          ? `${registry} refuses to show ${name}: the login there is wrong, or lacks the right to read it.`
          : `${registry} does not show ${name} without a login. Set ${registry === "ghcr.io" ? "GHCR_USER and GITHUB_PAT" : "REGISTRY_USER and REGISTRY_PASSWORD"}, or log in with docker, podman or buildah.`,
      );
    }
  }
  if (response.status === 404) return undefined;
  if (!response.ok) throw new UserError(`${registry} answered ${response.status} when asked for ${image}. Try again later.`);
  return response.headers.get("docker-content-digest") ?? "(the registry names no digest)";
}

async function request(registry, url, options) {
  try {
    return await fetch(url, { redirect: "follow", signal: AbortSignal.timeout(TIMEOUT), ...options });
  } catch (error) {
    throw new UserError(`${registry} could not be reached: ${error.cause?.message || error.message}`);
  }
}

/** Answers a registry's challenge: with the login itself (Basic), or with a token for it (Bearer). */
async function authorize(registry, name, challenge, credentials) {
  const basic = credentials && { authorization: `Basic ${Buffer.from(`${credentials.user}:${credentials.password}`).toString("base64")}` };
  if (/^basic/i.test(challenge)) return basic ?? {};
  const parameters = Object.fromEntries([...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, value]) => [key, value]));
  if (!/^bearer/i.test(challenge) || !URL.canParse(parameters.realm ?? "")) throw new UserError(`${registry} asks for a login in a way that this script does not know: ${challenge}`);
  const realm = new URL(parameters.realm);
  // The login goes nowhere in plain text.
  if (realm.protocol !== "https:" && !isLoopback(realm.host)) throw new UserError(`${registry} sends logins to ${realm.origin}, which is not encrypted.`);
  if (parameters.service) realm.searchParams.set("service", parameters.service);
  realm.searchParams.set("scope", `repository:${name}:pull`);
  const response = await request(registry, realm, { headers: basic ?? {} });
  if (!response.ok) return {};
  const { token, access_token: accessToken } = await response.json();
  return { authorization: `Bearer ${token ?? accessToken}` };
}

async function credentialsFor(registry, environment) {
  const { REGISTRY_USER, REGISTRY_PASSWORD, GHCR_USER, GITHUB_PAT } = environment;
  if (REGISTRY_PASSWORD) return { user: REGISTRY_USER ?? "", password: REGISTRY_PASSWORD };
  if (registry === "ghcr.io" && GITHUB_PAT) return { user: REGISTRY_USER ?? GHCR_USER ?? "", password: GITHUB_PAT };
  const home = environment.HOME ?? homedir();
  const files = [
    environment.REGISTRY_AUTH_FILE,
    environment.XDG_RUNTIME_DIR && join(environment.XDG_RUNTIME_DIR, "containers/auth.json"),
    join(home, ".config/containers/auth.json"),
    join(environment.DOCKER_CONFIG ?? join(home, ".docker"), "config.json"),
  ];
  for (const file of files.filter(Boolean)) {
    const text = await readFile(file, "utf8").catch(() => "{}");
    const auth = JSON.parse(text).auths?.[registry]?.auth;
    if (!auth) continue;
    const [user, ...password] = Buffer.from(auth, "base64").toString().split(":");
    return { user, password: password.join(":") };
  }
  return undefined;
}

async function main(images) {
  if (images.length === 0) throw new UserError("Usage: node scripts/registry-has.mjs IMAGE…");
  images.forEach(parse);
  const digests = await Promise.all(images.map((image) => digestOf(image)));
  for (const [index, digest] of digests.entries()) {
    if (digest) console.log(`${images[index]} ${digest}`);
    else console.error(`${images[index]} is not in the registry. Push it first: make -C deploy/homelab push`);
  }
  return digests.every(Boolean) ? 0 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(error.message);
    process.exitCode = 2;
  }
}
