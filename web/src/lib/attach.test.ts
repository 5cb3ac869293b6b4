import { expect, test } from "vitest";
import { attachCommand, promptingCommand } from "./attach";

const site = "https://code.example.org";
const attachUrl = "https://attach-a48da0606867-oc.example.org";

test("a command has the address, the token and the opencode session", () => {
  expect(attachCommand({ attachUrl, site, token: "ocattach_x", sessionId: "ses_1" })).toBe(
    `opencode attach ${attachUrl} --password ocattach_x --session ses_1`,
  );
  expect(attachCommand({ attachUrl, site, sessionId: null })).toBe(`opencode attach ${attachUrl} --continue`);
});

test("an id that is none is left out of the command", () => {
  expect(attachCommand({ attachUrl, site, sessionId: "ses_1; rm -rf ~" })).not.toContain("rm");
});

test("names below localhost are resolved by the router", () => {
  const local = { attachUrl: "http://attach-a48da0606867.localhost:3000", site: "http://localhost:3000" };
  expect(attachCommand(local)).toBe(
    "HTTP_PROXY=http://localhost:3000 NO_PROXY= opencode attach http://attach-a48da0606867.localhost:3000 --continue",
  );
});

test("a command that asks for the token does not contain it", () => {
  expect(promptingCommand({ attachUrl, site })).toBe(
    `read -rs OPENCODE_SERVER_PASSWORD && export OPENCODE_SERVER_PASSWORD && opencode attach ${attachUrl} --continue`,
  );
});
