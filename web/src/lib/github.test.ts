import { describe, expect, it } from "vitest";
import { branchOptions, MAX_SHOWN, matching, nameOnGithub, type Option, recentOption, shown } from "./github";

const GITHUB = "https://github.com";
const option = (label: string): Option => ({ value: label, label });
const repository = (fullName: string, isPrivate = false) => ({
  name: fullName.split("/")[1] ?? "",
  fullName,
  url: `${GITHUB}/${fullName}`,
  isPrivate,
  defaultBranch: "main",
});

describe("a repository on GitHub", () => {
  it.each([
    ["https://github.com/acme/widgets", "acme/widgets"],
    ["https://github.com/acme/widgets.git", "acme/widgets"],
    ["https://GitHub.com/acme/.github/", "acme/.github"],
    ["https://github.com/acme", undefined],
    ["https://github.com/acme/widgets/tree/main", undefined],
    ["https://github.com.evil.example/acme/widgets", undefined],
    ["https://gitlab.com/acme/widgets", undefined],
    [undefined, undefined],
  ])("is told by its address: %s", (url, name) => expect(nameOnGithub(url, GITHUB)).toBe(name));

  it("keeps the spelling of a session's address, which is part of its key", () => {
    const known = [repository("acme/widgets", true)];
    expect(recentOption("https://github.com/acme/widgets", GITHUB, known)).toEqual({
      value: "acme/widgets",
      label: "acme/widgets",
      detail: "main",
      private: true,
    });
    expect(recentOption("https://github.com/acme/widgets.git", GITHUB, known).value).toBe(
      "https://github.com/acme/widgets.git",
    );
    expect(recentOption("git@h.example:a/b.git", GITHUB, known)).toEqual({
      value: "git@h.example:a/b.git",
      label: "a/b",
      detail: "h.example",
    });
  });
});

describe("the options that match", () => {
  const options = ["acme/app", "acme/widgets", "wid/other"].map(option);
  it("contain all words, and those whose name begins with the text come first", () => {
    expect(matching(options, "wid").map(({ label }) => label)).toEqual(["acme/widgets", "wid/other"]);
    expect(matching(options, "ACME wid").map(({ label }) => label)).toEqual(["acme/widgets"]);
    expect(matching(options, "other").map(({ label }) => label)).toEqual(["wid/other"]);
    expect(matching(options, "nothing")).toEqual([]);
    expect(matching(options, " ")).toEqual(options);
  });

  it("are shown once, and not more than can be read", () => {
    const many = Array.from({ length: 80 }, (_, number) => option(`acme/repo-${number}`));
    const groups = [{ title: "Recent", options: [option("acme/repo-7")] }, { options: many }];
    const { groups: result, more } = shown(groups, "");
    expect(result.flatMap(({ options }) => options).length).toBe(MAX_SHOWN);
    expect(result[1]?.options.some(({ label }) => label === "acme/repo-7")).toBe(false);
    expect(more).toBe(30);
    expect(shown(groups, "repo-7").groups.map(({ title }) => title)).toEqual(["Recent", undefined]);
    expect(shown(groups, "zzz").groups).toEqual([]);
  });

  it("begin with the default branch", () => {
    const branches = [{ name: "a" }, { name: "main" }, { name: "z" }];
    expect(branchOptions(branches, "main").map(({ label }) => label)).toEqual(["main", "a", "z"]);
    expect(branchOptions(branches, undefined).every(({ default: isDefault }) => !isDefault)).toBe(true);
  });
});
