// Commits in the page's terminal on a machine with several users: they are by the session's owner, until the
// owner configures something else, which survives a resume.

import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../fixtures/gate.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import { startSignIn } from "../fixtures/sign-in.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

const ANN = "ann.lee@example.com";
const AS_ANN = { headers: { cookie: `_oauth2_proxy=${encodeURIComponent(ANN)}` } };

test("commits are by the session's owner, and what the owner configured stays", { timeout: 120_000 }, async () => {
  const signIn = await startSignIn();
  const domain = `localhost:${signIn.port}`;
  // Without a route to GitHub, the token of the sign-in names nobody.
  const app = await startTestApp("commits", { IDENTITY: "headers", TRUSTED_PROXIES: "127.0.0.1/32", ROUTER_DOMAIN: domain, GITHUB_API_URL: "http://127.0.0.1:1" });
  try {
    signIn.forwardTo(app.router.port);
    const front = { url: `http://${domain}`, port: signIn.port };
    const made = await site.api(front, "POST", "/sessions", { ...AS_ANN, body: {} });
    assert.equal(made.status, 201, made.body);
    const { hash } = made.json;
    const host = site.hostOf(hash, front);
    const reaches = (state) =>
      eventually(`the session is ${state}`, async () => {
        const session = await site.getSession(front, hash, AS_ANN);
        assert.notEqual(session.state, "failed", JSON.stringify(session.reason));
        return session.state === state && session;
      }, 60_000);
    const openTerminal = async () => {
      const { url } = await reaches("running");
      const page = await app.browser.page({ cookies: [domain, host].map((name) => ({ name: "_oauth2_proxy", value: encodeURIComponent(ANN), url: `http://${name}` })) });
      await page.goto(url);
      await opencode.waitForSession(page, host);
      return await opencode.openTerminal(page);
    };
    const COMMIT = "git commit -q --allow-empty -m test && git log -1 --format='by:%an <%ae>'";

    let terminal = await openTerminal();
    await terminal.run("git log --format='first:%an <%ae>'", `first:Ann Lee <${ANN}>`);
    await terminal.run(COMMIT, `by:Ann Lee <${ANN}>`);
    await terminal.run("git config --global user.name Annie && echo configure''d", "configured");
    assert.equal((await site.api(front, "POST", `/sessions/${hash}/stop`, AS_ANN)).status, 200);
    await reaches("stopped");
    assert.equal((await site.api(front, "POST", `/sessions/${hash}/resume`, AS_ANN)).status, 200);
    terminal = await openTerminal();
    await terminal.run(COMMIT, `by:Annie <${ANN}>`);
    await terminal.run(`git config user.email annie@project.example && ${COMMIT}`, "by:Annie <annie@project.example>");
  } finally {
    await app.end();
    await signIn.close();
  }
});
