import { describe, expect, it } from "vitest";
import { targetOf } from "./target";

const URL_OF_SESSION = "https://a48da0606867-oc.example.org/L3g/session/ses_1";

describe("the address that a browser is led to", () => {
  it("is the one that was requested, with query and fragment", () => {
    expect(targetOf(URL_OF_SESSION, { to: "/L3g/session/ses_2?x=1&y=%2F" }, "#message-3")).toBe(
      "https://a48da0606867-oc.example.org/L3g/session/ses_2?x=1&y=%2F#message-3",
    );
  });

  it("is the session's own if none was requested", () => {
    expect(targetOf(URL_OF_SESSION, {})).toBe(URL_OF_SESSION);
    expect(targetOf(URL_OF_SESSION, {}, "#end")).toBe(`${URL_OF_SESSION}#end`);
  });

  it("is at the dev server whose port was requested", () => {
    expect(targetOf("http://a48da0606867.localhost:3000/L3g", { to: "/app?x", port: "5173" })).toBe(
      "http://5173-a48da0606867.localhost:3000/app?x",
    );
    expect(targetOf(URL_OF_SESSION, { port: "5173" })).toBe("https://5173-a48da0606867-oc.example.org/");
  });

  it.each([
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "https://evil.example/",
    "javascript:alert(1)",
    "@evil.example",
    ".evil.example",
    "",
  ])("is never elsewhere: %j", (to) => {
    expect(new URL(targetOf(URL_OF_SESSION, { to })).origin).toBe(new URL(URL_OF_SESSION).origin);
    expect(new URL(targetOf(URL_OF_SESSION, { to, port: "5173" })).host).toMatch(
      /^(5173-)?a48da0606867-oc\.example\.org$/,
    );
  });

  it.each(["5173.evil", "0080", "99", "evil.example#", "-1", "5173-"])(
    "ignores a port that is none: %j",
    (port) => {
      expect(targetOf(URL_OF_SESSION, { to: "/x", port })).toBe("https://a48da0606867-oc.example.org/x");
    },
  );
});
