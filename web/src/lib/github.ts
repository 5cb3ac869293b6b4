// What the composer offers of the caller's GitHub: repositories and branches, as options of a field.

import type { Branch, Repository } from "../api/client";
import { repoName } from "./repo";

/** What a field offers. */
export type Option = {
  /** The text that the field gets. */
  value: string;
  /** The text that is shown. */
  label: string;
  /** More about it, such as its default branch. */
  detail?: string;
  private?: boolean;
  /** Of a branch: whether it is the default branch. */
  default?: boolean;
};

export type Group = { title?: string; options: Option[] };

/** The most options that are shown at once; typing finds the others. */
export const MAX_SHOWN = 50;

/** Returns `owner/name` if an address is that of a repository on this GitHub. */
export function nameOnGithub(url: string | undefined, githubUrl: string | undefined): string | undefined {
  if (!url || !githubUrl || !url.toLowerCase().startsWith(`${githubUrl.toLowerCase()}/`)) return undefined;
  const path = url.slice(githubUrl.length + 1).replace(/(\.git)?\/?$/, "");
  return /^[\w.-]+\/[\w.-]+$/.test(path) ? path : undefined;
}

/** Returns a repository on GitHub as an option. */
export function repositoryOption(repository: Repository): Option {
  return {
    value: repository.fullName,
    label: repository.fullName,
    private: repository.isPrivate,
    ...(repository.defaultBranch && { detail: repository.defaultBranch }),
  };
}

/** Returns the address of one of the user's sessions as an option; a known repository explains it. */
export function recentOption(url: string, githubUrl: string | undefined, known: Repository[]): Option {
  const name = nameOnGithub(url, githubUrl);
  const repository = known.find(({ fullName }) => same(fullName, name));
  // Another spelling would be another session.
  const value = name && url === `${githubUrl}/${name}` ? name : url;
  if (repository) return { ...repositoryOption(repository), value };
  return { value, label: name ?? repoName(url), ...(!name && { detail: hostOf(url) }) };
}

/** Returns the branches as options, the default branch first. */
export function branchOptions(branches: Branch[], defaultBranch: string | undefined): Option[] {
  const options = branches.map(({ name }) => ({ value: name, label: name, default: name === defaultBranch }));
  return [...options.filter((option) => option.default), ...options.filter((option) => !option.default)];
}

/** Returns the options that contain all words of a text; those whose name begins with it come first. */
export function matching(options: Option[], text: string): Option[] {
  const typed = text
    .trim()
    .toLowerCase()
    .replace(/^https?:\/\/[^/]*\/?/, "");
  const words = typed.split(/\s+/).filter(Boolean);
  const fits = options.filter(({ label, value }) => {
    const haystack = `${label} ${value}`.toLowerCase();
    return words.every((word) => haystack.includes(word));
  });
  const begins = ({ label }: Option) =>
    label.toLowerCase().startsWith(typed) || label.toLowerCase().split("/").pop()?.startsWith(typed);
  return typed === "" ? fits : [...fits.filter(begins), ...fits.filter((option) => !begins(option))];
}

/** Returns the groups without those options that an earlier group has, and no more than can be shown. */
export function shown(groups: Group[], text: string): { groups: Group[]; more: number } {
  const seen = new Set<string>();
  let room = MAX_SHOWN;
  let more = 0;
  const result = groups.map(({ title, options }) => {
    const fresh = matching(options, text).filter(({ label, value }) => {
      const isNew = !seen.has(value) && !seen.has(label);
      seen.add(value).add(label);
      return isNew;
    });
    const first = fresh.slice(0, room);
    room -= first.length;
    more += fresh.length - first.length;
    return { ...(title && { title }), options: first };
  });
  return { groups: result.filter(({ options }) => options.length > 0), more };
}

function same(a: string, b: string | undefined): boolean {
  return a.toLowerCase() === b?.toLowerCase();
}

function hostOf(url: string): string {
  const host = /^(?:[a-z+]+:\/\/)?(?:[^@/]*@)?([^:/]+)/i.exec(url)?.[1];
  return host ?? "";
}
