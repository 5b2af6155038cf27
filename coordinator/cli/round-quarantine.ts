// `isthmus rounds quarantine`: the deltas that were kept out of a round, and why.
import type { RoundQuarantine } from "../rounds/round-quarantine.ts";
import { clientOf } from "./campaign-path.ts";
import { type CommandScope, coordinatorOptions, numberOption, readArgs } from "./command.ts";
import { bytesText, table } from "./terminal.ts";

export async function showQuarantine(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus rounds quarantine";
  const options = { ...coordinatorOptions, json: { type: "boolean" } } as const;
  const { values, positionals } = readArgs(args, path, options, ["CAMPAIGN", "ROUND"]);
  const [id = "", given] = positionals;
  const round = numberOption(path, "ROUND", given);
  const url = `/v1/rounds/${encodeURIComponent(id)}/${round}/quarantine`;
  const found = await clientOf(values, scope).get<RoundQuarantine>(url);
  if (values.json) scope.terminal.json(found);
  else scope.terminal.print(quarantineText(found));
}

/** What a terminal shows of it. */
export function quarantineText({ deltas, silent }: RoundQuarantine): string {
  const rows = deltas.map((delta) => [
    delta.region,
    delta.edge,
    delta.reason,
    delta.codec || "-",
    bytesText(delta.bytes),
    delta.norm.toPrecision(4),
    delta.kept ? "yes" : "no",
    delta.detail,
  ]);
  const header = ["region", "edge", "reason", "codec", "delta", "norm", "kept", "what was wrong"];
  const list = rows.length === 0 ? "no delta was kept out" : table(header, rows);
  const unheard = silent.map(({ region, reason }) => `${region} could not be asked: ${reason}`);
  return [list, ...unheard].join("\n");
}
