import { describe, expect, it } from "vitest";
import { checkRepo, isBranch, repoName } from "./repo";

const OWN_MACHINE = { sshRepos: true, localRepos: true };

describe("a repository's address", () => {
  it.each([
    ["acme/widgets", "https://github.com/acme/widgets"],
    [" https://h.example/a/b.git ", "https://h.example/a/b.git"],
    ["http://h:8080/r", "http://h:8080/r"],
  ])("takes %j", (typed, url) => expect(checkRepo(typed)).toEqual({ url }));

  it.each([
    ["", "invalid.repoEmpty"],
    ["   ", "invalid.repoEmpty"],
    ["widgets", "invalid.repoForm"],
    ["https://h", "invalid.repoForm"],
    ["https://h/", "invalid.repoForm"],
    ["two words/x", "invalid.repoForm"],
    ["https://me:secret@h/r", "invalid.repoCredential"],
    ["https://token@h/r", "invalid.repoCredential"],
    ["ftp://h/r", "invalid.repoKind"],
    ["javascript://h/r", "invalid.repoKind"],
    ["git@h:a/b.git", "invalid.repoKind"],
    ["/srv/x", "invalid.repoKind"],
    ["file:///srv/x", "invalid.repoKind"],
  ])("refuses %j: %s", (typed, error) => expect(checkRepo(typed)).toEqual({ error }));

  it.each(["git@h:a/b.git", "ssh://git@h/r", "/srv/a b", "file:///srv/x"])(
    "takes %j on one's own machine",
    (typed) => expect(checkRepo(typed, OWN_MACHINE)).toEqual({ url: typed }),
  );

  it.each([
    ["https://github.com/acme/widgets.git", "acme/widgets"],
    ["git@github.com:acme/widgets.git", "acme/widgets"],
    ["/srv/git/demo", "git/demo"],
    ["https://h/r", "r"],
  ])("calls %s %s", (url, name) => expect(repoName(url)).toBe(name));
});

describe("a branch's name", () => {
  it.each(["main", "feature/JIRA-123_x.y", "umlaut-ü", "a@b"])("takes %j", (name) =>
    expect(isBranch(name)).toBe(true),
  );
  it.each([
    "",
    "-x",
    "a b",
    "a..b",
    "a~b",
    "a:b",
    "a?b",
    "a*b",
    "a[b",
    "a\\b",
    "/a",
    "a/",
    "a//b",
    ".a",
    "a/.b",
  ])("refuses %j", (name) => expect(isBranch(name)).toBe(false));
  it.each(["a.lock", "a.lock/b", "a.", "@", "HEAD", "a@{b", "a\u007fb", "a\tb"])("refuses %j", (name) =>
    expect(isBranch(name)).toBe(false),
  );
});
