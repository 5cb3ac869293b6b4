// Reading what people paste: the content of a .env file.

/** The variables of a text, and the numbers of its lines that are none. */
export type Dotenv = { variables: [name: string, value: string][]; invalidLines: number[] };

const ASSIGNMENT = /^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=[^\S\n]*/;
const ESCAPES: Record<string, string> = { n: "\n", r: "\r", t: "\t" };

/**
 * Parses the content of a .env file: `NAME=value`, with `export` in front or not, values in quotes (which may
 * span lines) or without, comments. A name that occurs again has its last value.
 */
export function parseDotenv(text: string): Dotenv {
  const variables = new Map<string, string>();
  const invalidLines: number[] = [];
  let rest = text.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n");
  let line = 1;
  const take = (length: number) => {
    line += (rest.slice(0, length).match(/\n/g) ?? []).length;
    rest = rest.slice(length);
  };
  while (rest) {
    const start = ASSIGNMENT.exec(rest.slice(0, lineEnd(rest)));
    if (start) {
      const [head, name = ""] = start;
      const after = rest.slice(head.length);
      const { value, length } = quoted(after) ?? unquoted(after);
      variables.set(name, value);
      take(head.length + length);
    } else {
      const content = rest.slice(0, lineEnd(rest)).trim();
      if (content && !content.startsWith("#")) invalidLines.push(line);
    }
    take(Math.min(lineEnd(rest) + 1, rest.length));
  }
  return { variables: [...variables], invalidLines };
}

function lineEnd(text: string): number {
  const end = text.indexOf("\n");
  return end < 0 ? text.length : end;
}

/** A value in quotes, with nothing but a comment behind it. Only double quotes know escapes. */
function quoted(text: string): { value: string; length: number } | undefined {
  const match = /^(?:"((?:[^"\\]|\\[\s\S])*)"|'([^']*)'|`([^`]*)`)(?=[^\S\n]*(?:#.*)?(?:\n|$))/.exec(text);
  if (!match) return undefined;
  const [all, double, single, back] = match;
  const value =
    double?.replace(
      /\\([\s\S])/g,
      (_, char: string) => ESCAPES[char] ?? (/["\\$]/.test(char) ? char : `\\${char}`),
    ) ??
    single ??
    back ??
    "";
  return { value, length: all.length };
}

function unquoted(text: string): { value: string; length: number } {
  const content = text.slice(0, lineEnd(text));
  return { value: content.replace(/(^|\s)#.*$/, "").trim(), length: content.length };
}
