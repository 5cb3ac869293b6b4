// Cloudflare's API for the chain.

import { DOMAIN, SERVICE, TUNNEL } from "./world.mjs";

const record = (name) => ({ type: "CNAME", name, content: `${TUNNEL}.cfargotunnel.com`, proxied: true, ttl: 1 });

/** Fixed documents, without an API and an operator: one record and one rule for all hosts. */
export function fixed() {
  const documents = {
    records: [record(DOMAIN), record(`*.${DOMAIN}`)],
    ingress: [{ hostname: DOMAIN, service: SERVICE }, { hostname: `*.${DOMAIN}`, service: SERVICE }, { service: "http_status:404" }],
  };
  return { load: async () => documents };
}
