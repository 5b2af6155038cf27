// `isthmus models privacy`: what a model's rounds have given away, and what they may.
import type { PrivacyAccount } from "../privacy/privacy-ledger.ts";
import { clientOf } from "./campaign-path.ts";
import {
  type Command,
  type CommandScope,
  coordinatorOptionLines,
  coordinatorOptions,
  numberOption,
  readArgs,
} from "./command.ts";
import { table } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";

export const privacyCommand: Command = {
  name: "privacy",
  summary: "Shows the ε that a model's rounds have cost, or sets what they may cost.",
  usage: "MODEL [--budget EPSILON [--delta DELTA]] [--json]",
  options: [
    ...coordinatorOptionLines,
    "--budget EPSILON    most that all rounds together may cost; it can only be lowered later",
    "--delta DELTA       probability with which that may fail (0.00001); fixed once set",
    "--json              as JSON",
  ],
  examples: ["isthmus models privacy commands", "isthmus models privacy commands --budget 8"],
  run: privacy,
};

async function privacy(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus models privacy";
  const options = {
    ...coordinatorOptions,
    budget: { type: "string" },
    delta: { type: "string" },
    json: { type: "boolean" },
  } as const;
  const { values, positionals } = readArgs(args, path, options, ["MODEL"]);
  const epsilon = numberOption(path, "budget", values.budget);
  const delta = numberOption(path, "delta", values.delta);
  if (epsilon === undefined && delta !== undefined) {
    throw new UsageError(`${path}: --delta needs --budget`);
  }
  const client = clientOf(values, scope);
  const url = `/v1/models/${encodeURIComponent(positionals[0] ?? "")}/privacy`;
  const account =
    epsilon === undefined
      ? await client.get<PrivacyAccount>(url)
      : await client.put<PrivacyAccount>(url, { epsilon, ...(delta !== undefined && { delta }) });
  if (values.json) scope.terminal.json(account);
  else scope.terminal.print(privacyText(account));
}

/** What a terminal shows of an account. */
export function privacyText(account: PrivacyAccount): string {
  const { model, delta, epsilon, spent, unnoisedRounds, charges } = account;
  const cost = spent === null ? "no bound" : `ε ${spent.toFixed(3)} at δ ${delta}`;
  const budget = epsilon === null ? "no budget" : `budget ε ${Number(epsilon.toFixed(3))}`;
  const lines = [`${model}: ${cost}, ${budget}`];
  if (unnoisedRounds > 0) {
    lines.push(`${unnoisedRounds} rounds went without noise: nothing bounds what they told`);
  }
  if (charges.length === 0) return lines.join("\n");
  const rows = charges.map((charge) => [
    charge.campaign,
    String(charge.round),
    String(charge.multiplier),
    charge.at,
    charge.state,
  ]);
  return [...lines, "", table(["campaign", "round", "noise", "at", "charge"], rows)].join("\n");
}
