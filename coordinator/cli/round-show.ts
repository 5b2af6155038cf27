// `isthmus rounds show` and `ls`: the records of campaigns and of single rounds.
import { type CampaignState, isOver, type RoundState } from "../rounds/campaign-state.ts";
import { triggerText } from "../rounds/campaign-trigger.ts";
import { rulesOf } from "../rounds/plan/combination.ts";
import { serverOf } from "../rounds/plan/strategy-plan.ts";
import { campaignPath, clientOf } from "./campaign-path.ts";
import { type CommandScope, coordinatorOptions, numberOption, readArgs } from "./command.ts";
import { durationText } from "./duration.ts";
import { type CampaignView, panelOf } from "./round-panel.ts";
import { beforeAndAfter, campaignRow, roundLine } from "./round-report.ts";
import { bytesText, table } from "./terminal.ts";

const jsonOptions = { ...coordinatorOptions, json: { type: "boolean" } } as const;

export async function showRounds(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus rounds show";
  const names = ["CAMPAIGN", "[ROUND]"];
  const { values, positionals } = readArgs(args, path, jsonOptions, names);
  const [id = "", round] = positionals;
  const number = numberOption(path, "ROUND", round);
  const client = clientOf(values, scope);
  if (number !== undefined) {
    const state = await client.get<RoundState>(`${campaignPath(id)}/rounds/${number}`);
    if (values.json) scope.terminal.json(state);
    else showRound(state, scope);
    return;
  }
  const campaign = await client.get<CampaignView>(campaignPath(id));
  const { terminal } = scope;
  if (values.json) {
    terminal.json(campaign);
    return;
  }
  terminal.print(`${campaign.id}: ${campaign.phase} ${campaign.reason}`.trimEnd());
  for (const line of planLines(campaign)) terminal.print(line);
  for (const past of campaign.past) terminal.print(roundLine(past, campaign.rounds));
  if (!isOver(campaign)) {
    const { text, details } = panelOf(campaign);
    for (const line of [text, ...details]) terminal.print(line);
  }
  if (campaign.baseline !== null) terminal.print(`\n${beforeAndAfter(campaign)}`);
}

/** What was asked for, and by whom. */
function planLines(campaign: CampaignState): string[] {
  const { pace, trigger, startVersion, createdMs } = campaign;
  const goal =
    pace.goal === 0 ? "every edge" : `${pace.goal} deltas (${pace.overSelection} × asked)`;
  const deadline = durationText(pace.deadlineMs);
  const began = new Date(createdMs).toISOString().slice(0, 19).replace("T", " ");
  const why = triggerText(trigger);
  return [
    `  from ${startVersion} at ${began}Z${why === "" ? "" : `; ${why}`}`,
    `  each round: ${goal}, at least ${pace.quorum}, within ${deadline}`,
    `  ${strategyText(campaign)}`,
  ];
}

/** E.g. "deltas: robust, LoRA: stack, server: fedadam at 0.1". */
function strategyText({ strategy, privacy }: CampaignState): string {
  const { combine, lora } = rulesOf({ strategy, privacy });
  const { server, learningRate } = serverOf(strategy, 1);
  const rate = Array.isArray(strategy.lr) ? strategy.lr.join(", then ") : learningRate;
  return `deltas: ${combine.combine}, LoRA: ${lora}, server: ${server} at ${rate}`;
}

function showRound(round: RoundState, { terminal }: CommandScope): void {
  const rows = round.regions.flatMap(({ region, edges }) =>
    edges.map((edge) => [
      region,
      edge.edge,
      edge.bucket,
      String(edge.examples),
      `${edge.step}/${edge.steps}`,
      edge.lossBefore.toFixed(3),
      edge.lossAfter.toFixed(3),
      edge.norm.toFixed(3),
      bytesText(edge.deltaBytes),
      edge.reason,
    ]),
  );
  terminal.print(`round ${round.number}: ${round.phase} ${round.reason}`.trimEnd());
  const losses = ["loss before", "loss after"];
  const who = ["region", "edge", "bucket", "examples", "steps"];
  terminal.print(table([...who, ...losses, "norm", "delta", "why"], rows));
  for (const { region, phase, reason, partial } of round.regions) {
    for (const { edge, reason: why } of partial?.leftOut ?? []) {
      terminal.print(`${region}/${edge} not counted: ${why}`);
    }
    if (phase === "excluded" || phase === "silent") terminal.print(`${region} left out: ${reason}`);
  }
}

export async function listRounds(args: readonly string[], scope: CommandScope): Promise<void> {
  const { values } = readArgs(args, "isthmus rounds ls", jsonOptions);
  const client = clientOf(values, scope);
  const { campaigns } = await client.get<{ campaigns: CampaignState[] }>("/v1/campaigns");
  if (values.json) {
    scope.terminal.json(campaigns);
    return;
  }
  const header = ["campaign", "model", "state", "rounds", "promoted", "version", "why"];
  scope.terminal.print(table(header, campaigns.map(campaignRow)));
}
