// Figures as Markdown, and progress.

export const median = (numbers) =>
  numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)];
export const grouped = (number) => Math.round(number).toLocaleString("en-US");
export const fixed = (number, digits) => (Number.isFinite(number) ? number.toFixed(digits) : "–");

/** Returns a Markdown table; the cells are strings. */
export function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), `|${"---|".repeat(head.length)}`, ...rows.map(line)].join("\n");
}

/** Returns a ratio as text. */
export const ratio = (number, base) => fixed(number / base, 2);

/** Reports what is measured now, beside the tables. */
export const progress = (text) => process.stderr.write(`${new Date().toTimeString().slice(0, 8)} ${text}\n`);
