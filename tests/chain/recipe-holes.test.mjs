// What the recipes leave out, and why: the same checks find what they must find.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { startBrowser } from "../journey/fixtures/browser.mjs";
import { Client } from "./lib/client.mjs";
import { openSession, startSession } from "./lib/promises.mjs";
import { ALICE, PROXY_SECRET, startRecipe } from "./lib/recipe.mjs";

describe("holes", { timeout: 300_000 }, () => {
  // oauth2-proxy's documentation routes so, and so did this project's recipe and the TypeScript operator.
  test("with all of /oauth2/ routed to oauth2-proxy, a session's page reads its user's token", async () => {
    const everywhere = (text) =>
      text
        .replace(/- match: >-\n[\s\S]*?\n {6}kind: Rule/, "- match: PathPrefix(`/oauth2/`)\n      kind: Rule")
        .replace("      middlewares: [{ name: opencode-sign-in-pages }]\n", "");
    const recipe = await startRecipe("traefik", { edit: everywhere });
    const browser = await startBrowser();
    try {
      const alice = new Client();
      await alice.signIn(`${recipe.site}/`, ALICE);
      const page = await openSession(recipe, browser, await startSession(recipe, alice));
      const text = await page.evaluate(async () => JSON.stringify([...(await fetch("/oauth2/auth")).headers]));
      const token = recipe.provider.issued().find((one) => text.includes(one));
      assert.ok(token, `the page read no token: ${text}`);
      assert.ok(text.includes(ALICE));
    } finally {
      await browser.close();
      await recipe.end();
    }
  });

  // Why the proxy that forwards adds the secret (docs/adr), and not oauth2-proxy's answer to it.
  test("with the proxy secret in oauth2-proxy's answers, whoever reaches oauth2-proxy reads it", async () => {
    const inAnswers = (text) => text.replace("injectResponseHeaders:\n", `injectResponseHeaders:\n  - name: X-Router-Proxy-Secret\n    values: [{ secretSource: { value: ${PROXY_SECRET} } }]\n`);
    const recipe = await startRecipe("nginx", { edit: inAnswers });
    try {
      const alice = new Client();
      await alice.signIn(`${recipe.site}/`, ALICE);
      // A Pod in the same cluster, with the cookie of the user whose Pod it is.
      const answer = await alice.request(recipe.site, { path: "/anything", port: recipe.signInPort });
      assert.equal(answer.headers["x-router-proxy-secret"], PROXY_SECRET);
    } finally {
      await recipe.end();
    }
  });
});
