// The budgets of instructions per request, in instructions.json.
import { grouped } from "./tables.mjs";

const TOLERANCE = 0.05;

/** Compares a cost with its budget; returns whether it is kept, and what to do if it should change. */
export function compare(depth, cost, budget) {
  const change = cost / budget - 1;
  const percent = `${Math.abs(change * 100).toFixed(1)} %`;
  const update = "scripts/bench/instructions.mjs --update";
  if (cost > budget * (1 + TOLERANCE)) {
    const message = [
      `A request through "${depth}" costs ${grouped(cost)} instructions, ${percent} more than its budget of ${grouped(budget)}.`,
      `See what costs them: scripts/bench/instructions.mjs --depths=${depth} --annotate`,
      `If the change is worth it, write new budgets (${update}) and say why in the commit.`,
    ];
    return { within: false, message: message.join("\n") };
  }
  if (cost < budget * (1 - TOLERANCE))
    return {
      within: true,
      message: `"${depth}" costs ${percent} less than its budget; ${update} keeps that.`,
    };
  return { within: true };
}
