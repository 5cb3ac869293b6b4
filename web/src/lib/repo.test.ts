import { describe, expect, it } from "vitest";
import { checkRepo, isBranch, repoName } from "./repo";

const ALL_KINDS = { sshRepos: true, localRepos: true };

describe("a repository address", () => {
  it.each([
    ["acme/widgets", "https://github.com/acme/widgets"],
    [" https://h.example/a/b.git ", "https://h.example/a/b.git"],
    ["http://h:8080/r", "http://h:8080/r"],
  ])("accepts %j", (typed, url) => expect(checkRepo(typed)).toEqual({ url }));

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
    "accepts %j if the router allows it",
    (typed) => expect(checkRepo(typed, ALL_KINDS)).toEqual({ url: typed }),
  );

  it.each([
    ["https://github.com/acme/widgets.git", "acme/widgets"],
    ["git@github.com:acme/widgets.git", "acme/widgets"],
    ["/srv/git/demo", "git/demo"],
    ["https://h/r", "r"],
  ])("shortens %s to %s", (url, name) => expect(repoName(url)).toBe(name));
});

describe("a branch name", () => {
  it.each(["main", "feature/JIRA-123_x.y", "umlaut-ü", "a@b"])("accepts %j", (name) =>
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
