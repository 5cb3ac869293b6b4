// Choosing a repository and a branch among those on GitHub.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PHONE, assertAccessible, assertNoErrors, inspect, screenshot, startBrowser } from "../fixtures/browser.mjs";
import { startDevRouter } from "../fixtures/dev-router.mjs";
import { TOKEN, startGithub } from "../fixtures/github.mjs";
import * as site from "../fixtures/site.mjs";

const others = Array.from({ length: 250 }, (_, number) => ({ full_name: `acme/service-${number}`, private: number % 3 === 0, branches: ["main"] }));
const REPOSITORIES = [
  { full_name: "acme/website", private: false, branches: ["trunk", "next"] },
  { full_name: "octocat/dotfiles", private: true, branches: ["main", "feature/a-name-that-is-longer-than-most-names-of-branches", "fix/prompt"] },
  ...others,
];

let github;
let browser;
before(async () => {
  github = await startGithub(REPOSITORIES);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await github?.stop();
});

/** Runs a test with a router of its own, so that nothing that GitHub answered before is remembered. */
async function withRouter(action, env = { GITHUB_API_URL: github.apiUrl, GH_TOKEN: TOKEN }) {
  const router = await startDevRouter(env);
  try {
    await github.setFaults();
    await github.setUser({});
    await action(router);
  } finally {
    await router.stop();
  }
}

/** Opens the home page and waits until the field offers suggestions. */
async function openHome(router, options) {
  const page = await browser.page(options);
  await page.goto(`${router.url}/`);
  await page.locator("#compose-repo[aria-autocomplete=list]").waitFor();
  return page;
}

const repository = (page) => page.locator("#compose-repo");
const options = (page) => page.getByRole("option");
const note = (page) => page.locator("#compose-github");

/** Closes a page and returns the request that it sent to create a session. */
async function createdBy(page, action) {
  const [request] = await Promise.all([page.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/api/sessions")), action()]);
  await page.waitForURL(/\/session\/[0-9a-f]{12}$/);
  return request.postDataJSON();
}

test("a repository and a branch are chosen with the keyboard alone", () =>
  withRouter(async (router) => {
    const page = await openHome(router);
    await repository(page).press("ArrowDown");
    await page.getByRole("option", { name: /octocat\/dotfiles/ }).waitFor();
    // The repositories of one's own sessions come first.
    assert.match(await options(page).first().innerText(), /acme\/widgets/);
    assert.match(await page.getByRole("option", { name: /octocat\/dotfiles/ }).innerText(), /private/);
    await inspect(page, "repositories-open");

    await page.keyboard.type("dotf");
    await page.waitForFunction(() => document.querySelectorAll("[role=option]").length === 1);
    await inspect(page, "repositories-typed", ["light", "phone-dark"]);
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    assert.equal(await repository(page).inputValue(), "octocat/dotfiles");
    assert.equal(await options(page).count(), 0);
    assert.equal(await repository(page).evaluate((field) => field === document.activeElement), true);

    await page.keyboard.press("Tab");
    await page.keyboard.press("ArrowDown");
    await options(page).first().waitFor();
    assert.match(await options(page).first().innerText(), /^main\s+default$/);
    await inspect(page, "branches-open");
    await page.keyboard.press("Escape");

    await page.keyboard.press("Tab");
    assert.equal(await page.locator("#compose-from").getAttribute("placeholder"), "main");
    await page.keyboard.type("fix");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    assert.equal(await page.locator("#compose-from").inputValue(), "fix/prompt");
    const created = await createdBy(page, () => page.keyboard.press("Enter"));
    assert.equal(created.repoUrl, `${github.webUrl}/octocat/dotfiles`);
    assert.equal(created.sourceBranch, "fix/prompt");
    assertNoErrors(page);
    await page.context().close();
  }));

test("typing finds a repository on GitHub's last page, and the list is loaded once", () =>
  withRouter(async (router) => {
    const page = await openHome(router);
    const before = (await github.calls()).length;
    await repository(page).pressSequentially("service-249");
    await page.getByRole("option", { name: /acme\/service-249/ }).click();
    assert.equal(await repository(page).inputValue(), "acme/service-249");
    const calls = (await github.calls()).slice(before);
    assert.equal(calls.filter((call) => call.startsWith("/user/repos?")).length, 3, calls.join("\n"));
    await page.context().close();
  }));

test("any other address can be typed, and Enter starts it", () =>
  withRouter(async (router) => {
    const page = await openHome(router);
    await repository(page).pressSequentially("https://git.example.org/team/project");
    const created = await createdBy(page, () => page.keyboard.press("Enter"));
    assert.equal(created.repoUrl, "https://git.example.org/team/project");
    await page.context().close();
  }));

test("a tap chooses on a phone, in German", () =>
  withRouter(async (router) => {
    const page = await openHome(router, { size: PHONE, language: "de-DE" });
    await repository(page).click();
    await page.getByText("Deine Repositorys").waitFor();
    await screenshot(page, "repositories-phone-german");
    await page.getByRole("option", { name: /acme\/website/ }).click();
    assert.equal(await repository(page).inputValue(), "acme/website");
    await page.locator("#compose-branch").click();
    await page.getByRole("option", { name: /trunk/ }).waitFor();
    assert.match(await options(page).first().innerText(), /Standard/);
    await inspect(page, "branches-german", ["phone"]);
    await page.getByRole("option", { name: /next/ }).click();
    assert.equal(await page.locator("#compose-branch").inputValue(), "next");
    assertNoErrors(page);
    await page.context().close();
  }));

const REFUSALS = [
  ["rate_limit", { kind: "rate_limit", seconds: 1500 }, /GitHub's rate limit is reached\. Try again in 25 min/, /Anfragelimit/],
  ["token", { kind: "status", status: 401 }, /GitHub does not accept your token/, /nimmt dein Token nicht an/],
  ["sso", { kind: "sso", url: "https://github.com/orgs/acme/sso?authorization_request=x" }, /requires single sign-on/, /verlangt Single Sign-on/],
  ["unavailable", { kind: "status", status: 503 }, /GitHub does not answer/, /GitHub antwortet nicht/],
];

test("what GitHub refuses is said in a sentence, in both languages", { timeout: 90_000 }, async () => {
  for (const [name, fault, english, german] of REFUSALS) {
    await withRouter(async (router) => {
      await github.setFaults({ path: "/user/repos", ...fault });
      for (const [language, text] of [["en-GB", english], ["de-DE", german]]) {
        const page = await openHome(router, { language });
        await repository(page).press("ArrowDown");
        await note(page).filter({ hasText: text }).waitFor();
        if (name === "sso") assert.equal(await note(page).getByRole("link").getAttribute("href"), fault.url);
        // One's own repositories are still offered, and anything can be typed.
        assert.match(await options(page).first().innerText(), /acme\/widgets/);
        if (language === "en-GB") await inspect(page, `repositories-${name}`, ["light", "phone-dark"]);
        assertNoErrors(page);
        await page.context().close();
      }
    });
  }
});

test("repositories that GitHub leaves out are mentioned", () =>
  withRouter(async (router) => {
    await github.setUser({ partial: true, repositories: REPOSITORIES.slice(0, 3) });
    const page = await openHome(router);
    await repository(page).press("ArrowDown");
    await page.getByText(/organizations with single sign-on are missing/).waitFor();
    await inspect(page, "repositories-partial", ["light"]);
    await page.context().close();
  }));

test("without a token, the field is plain and says why", () =>
  withRouter(
    async (router) => {
      const page = await browser.page();
      await site.openHome(page, router);
      await note(page).filter({ hasText: /gh auth login/ }).waitFor();
      assert.equal(await repository(page).getAttribute("aria-autocomplete"), null);
      await inspect(page, "repositories-no-token", ["light", "phone-dark"]);
      await repository(page).fill("acme/website");
      const created = await createdBy(page, () => page.keyboard.press("Enter"));
      assert.equal(created.repoUrl, `${github.webUrl}/acme/website`);
      await page.context().close();
    },
    { GITHUB_API_URL: github.apiUrl },
  ));

test("all these pages are accessible and fit the window", assertAccessible);
