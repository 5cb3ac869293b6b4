import { describe, expect, it } from "vitest";
import { parseDotenv } from "./dotenv";

describe("a pasted .env file", () => {
  it.each([
    ["A=1", [["A", "1"]]],
    ["  export NPM_TOKEN = npm_abc  ", [["NPM_TOKEN", "npm_abc"]]],
    [
      "A=1\r\nB=2\r\n",
      [
        ["A", "1"],
        ["B", "2"],
      ],
    ],
    ["# a comment\n\nA=1 # another\n", [["A", "1"]]],
    ["URL=postgres://u:p#ss@h/db?x=1", [["URL", "postgres://u:p#ss@h/db?x=1"]]],
    [
      "A=\nB=''\n",
      [
        ["A", ""],
        ["B", ""],
      ],
    ],
    ["A='$HOME # \\n'", [["A", "$HOME # \\n"]]],
    ['A="one\\ntwo \\"x\\" \\$y \\d" # why', [["A", 'one\ntwo "x" $y \\d']]],
    [
      'KEY="-----BEGIN-----\nabc\n-----END-----"\nB=2',
      [
        ["KEY", "-----BEGIN-----\nabc\n-----END-----"],
        ["B", "2"],
      ],
    ],
    ['JSON={"a": 1}', [["JSON", '{"a": 1}']]],
    ['A=say "hi"', [["A", 'say "hi"']]],
    [
      'A="open\nB=2',
      [
        ["A", '"open'],
        ["B", "2"],
      ],
    ],
    ["A=1\nA=2", [["A", "2"]]],
    ["BASE64=YWJj==", [["BASE64", "YWJj=="]]],
    ["\uFEFFA=ü 🦀", [["A", "ü 🦀"]]],
  ] as [string, [string, string][]][])("%j", (text, variables) =>
    expect(parseDotenv(text)).toEqual({ variables, invalidLines: [] }),
  );

  it("reports the lines that set nothing", () => {
    const text = 'A="1\n2"\nnonsense\n\n1X=2\n- B=3\nC=4';
    expect(parseDotenv(text)).toEqual({
      variables: [
        ["A", "1\n2"],
        ["C", "4"],
      ],
      invalidLines: [3, 5, 6],
    });
  });

  it("is read in time that grows with its length", () => {
    const text = `A="${"\\".repeat(200_000)}\n${"=".repeat(200_000)}`;
    expect(parseDotenv(text).variables.length).toBe(1);
  });
});
