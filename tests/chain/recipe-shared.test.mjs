// A domain that other applications share (ROUTE_SUFFIX), with the changes that docs/sign-in.md names.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually } from "../journey/fixtures/gate.mjs";
import { Client } from "./lib/client.mjs";
import { startSession } from "./lib/promises.mjs";
import { ALICE, startRecipe } from "./lib/recipe.mjs";

describe("shared", { timeout: 300_000 }, () => {
  for (const kind of ["traefik", "nginx", "oauth2-proxy"]) {
    test(`with ${kind}, one sign-in serves the site and the sessions beside other applications`, async () => {
      const recipe = await startRecipe(kind, { shared: true });
      try {
        const alice = new Client();
        assert.equal((await alice.signIn(`${recipe.site}/`, ALICE)).url, `${recipe.site}/`);
        const { host } = await startSession(recipe, alice);
        assert.match(host, /\/\/[0-9a-f]{12}-oc\.example\.localhost:/);
        const theirs = "their_login=of-another-application";
        const cookie = `${alice.cookies(new URL(host).hostname)}; ${theirs}`;
        const answer = await alice.request(`${host}/session`, { headers: { accept: "application/json", cookie } });
        assert.equal(answer.status, 200, answer.body);
        await eventually("the other application's cookie reached the session", () => recipe.received().includes(theirs));
        for (const secret of [...alice.values(), ...recipe.provider.issued()]) assert.ok(!recipe.received().includes(secret));
        for (const path of ["/oauth2/auth", "/oauth2/userinfo", "/oauth2/nothing"]) {
          const { rawHeaders, body } = await alice.request(host, { path });
          for (const secret of recipe.provider.issued()) assert.ok(!`${rawHeaders} ${body}`.includes(secret), path);
        }
      } finally {
        await recipe.end();
      }
    });
  }
});
