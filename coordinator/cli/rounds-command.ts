// `isthmus rounds`: start federated rounds, watch them, look at what they did.
import { Fault } from "../../proto/fault.ts";
import { systemClock } from "../../runtime/clock.ts";
import { pause } from "../../sync/artifact/pause.ts";
import { type CampaignState, isOver, type RoundState } from "../rounds/campaign-state.ts";
import {
  type Command,
  type CommandScope,
  coordinatorOptionLines,
  coordinatorOptions,
  numberOption,
  readArgs,
} from "./command.ts";
import { CoordinatorClient } from "./coordinator-client.ts";
import { findCoordinator } from "./mesh-file.ts";
import {
  beforeAndAfter,
  campaignRow,
  evaluationsText,
  progressOf,
  roundLine,
} from "./round-report.ts";
import { bytesText, table } from "./terminal.ts";

const RECONNECT_MS = 1_000;
/** How long a coordinator may be away while it is watched. */
const AWAY_MAX_MS = 120_000;

/** Options that become fields of the request: option → [group, field]. */
const knobs = {
  rank: ["params", "rank"],
  alpha: ["params", "alpha"],
  "learning-rate": ["params", "learningRate"],
  "final-rate-share": ["params", "finalRateShare"],
  steps: ["params", "steps"],
  batch: ["params", "batch"],
  "sequence-length": ["params", "sequenceLength"],
  "replay-share": ["params", "replayShare"],
  "norm-max": ["params", "normMax"],
  seed: ["params", "seed"],
  quorum: ["rules", "quorum"],
  "gate-margin": ["rules", "gateMarginPoints"],
  examples: ["rules", "examplesMax"],
} as const;

const knobOptions = Object.fromEntries(
  Object.keys(knobs).map((name) => [name, { type: "string" }]),
) as Record<keyof typeof knobs, { type: "string" }>;

const jsonOptions = { ...coordinatorOptions, json: { type: "boolean" } } as const;
const jsonLines = [...coordinatorOptionLines, "--json              as JSON"];

export const roundsCommand: Command = {
  name: "rounds",
  summary: "Federated rounds: edges learn from data that stays with them.",
  subcommands: [
    {
      name: "start",
      summary: "Starts rounds on the version of a model that is served now.",
      usage: "MODEL [--rounds N] [--wait] [OPTIONS]",
      options: [
        ...jsonLines,
        "--rounds N          how many rounds (1)",
        "--wait              shows progress; ends with exact match before and after",
        "--round-timeout S   longest that one round's training may take, in seconds (300)",
        "--quorum N          fewest edges whose deltas make a round (1)",
        "--gate-margin P     points of exact match that the public set may lose (5)",
        "--examples N        examples of each set that an evaluation takes (100)",
        "--rank, --alpha, --learning-rate, --steps, --batch, --sequence-length,",
        "--final-rate-share, --replay-share, --norm-max, --seed   how each edge trains",
      ],
      examples: [
        "isthmus rounds start commands --rounds 10 --wait",
        "isthmus rounds start commands --steps 20 --learning-rate 0.002",
      ],
      run: start,
    },
    {
      name: "watch",
      summary: "Follows a campaign to its end.",
      usage: "CAMPAIGN",
      options: coordinatorOptionLines,
      examples: ["isthmus rounds watch commands-261120233658"],
      run: watch,
    },
    {
      name: "show",
      summary: "Shows a campaign's rounds, or one round's edges.",
      usage: "CAMPAIGN [ROUND] [--json]",
      options: jsonLines,
      examples: ["isthmus rounds show commands-261120233658 3"],
      run: show,
    },
    {
      name: "ls",
      summary: "Lists campaigns, the newest first.",
      usage: "[--json]",
      options: jsonLines,
      examples: ["isthmus rounds ls"],
      run: list,
    },
    {
      name: "stop",
      summary: "Ends a campaign before its time; what it has promoted stays served.",
      usage: "CAMPAIGN",
      options: coordinatorOptionLines,
      examples: ["isthmus rounds stop commands-261120233658"],
      run: stop,
    },
  ],
};

async function start(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus rounds start";
  const options = {
    ...jsonOptions,
    ...knobOptions,
    rounds: { type: "string" },
    "round-timeout": { type: "string" },
    wait: { type: "boolean" },
  } as const;
  const { values, positionals } = readArgs(args, path, options, ["MODEL"]);
  const groups: Record<"params" | "rules", Record<string, number>> = { params: {}, rules: {} };
  for (const [option, [group, field]] of Object.entries(knobs)) {
    const value = numberOption(path, option, values[option as keyof typeof knobs]);
    if (value !== undefined) groups[group][field] = value;
  }
  const timeoutS = numberOption(path, "round-timeout", values["round-timeout"]);
  if (timeoutS !== undefined) groups.rules.roundTimeoutMs = timeoutS * 1000;
  const rounds = numberOption(path, "rounds", values.rounds) ?? 1;
  const client = clientOf(values, scope);
  const body = { model: positionals[0], rounds, ...groups };
  const campaign = await client.post<CampaignState>("/v1/campaigns", body);
  if (values.wait) {
    if (!values.json)
      scope.terminal.print(
        `${campaign.id}: ${rounds} round${rounds === 1 ? "" : "s"} on ${campaign.model}`,
      );
    await follow(client, campaign.id, scope, values.json ?? false);
  } else if (values.json) {
    scope.terminal.json(campaign);
  } else {
    scope.terminal.print(`${campaign.id} has started: isthmus rounds watch ${campaign.id}`);
  }
}

async function watch(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus rounds watch";
  const { values, positionals } = readArgs(args, path, coordinatorOptions, ["CAMPAIGN"]);
  await follow(clientOf(values, scope), positionals[0] ?? "", scope, false);
}

/** Follows a campaign through restarts of the coordinator. Faults: when it was stopped early. */
async function follow(
  client: CoordinatorClient,
  id: string,
  scope: CommandScope,
  asJson: boolean,
): Promise<void> {
  const { terminal, signal } = scope;
  let shown = 0;
  let isMeasured = false;
  let heardMs = systemClock.monotonicMs();
  let last: CampaignState | undefined;
  while (last === undefined || !isOver(last)) {
    try {
      for await (const campaign of client.follow<CampaignState>(`${pathOf(id)}/events`)) {
        last = campaign;
        heardMs = systemClock.monotonicMs();
        if (asJson) continue;
        if (campaign.baseline !== null && !isMeasured) {
          terminal.print(`before: ${evaluationsText(campaign.baseline)}`);
          isMeasured = true;
        }
        for (const round of campaign.past.slice(shown)) {
          terminal.print(roundLine(round, campaign.rounds));
        }
        shown = campaign.past.length;
        if (isOver(campaign)) break;
        const { text, milestone } = progressOf(campaign);
        terminal.progress(text, milestone);
      }
    } catch (thrown) {
      const isAway = thrown instanceof Fault && thrown.retriable && !signal.aborted;
      if (!isAway || systemClock.monotonicMs() - heardMs > AWAY_MAX_MS) throw thrown;
      terminal.progress("the coordinator is away; waiting for it", "away");
    }
    if (last === undefined || !isOver(last)) await pause(systemClock, RECONNECT_MS, signal);
  }
  if (asJson) terminal.json(last);
  else terminal.print(`\n${beforeAndAfter(last)}`);
  if (last.phase === "stopped") throw new Fault("failed-precondition", `${id}: ${last.reason}`);
}

async function show(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus rounds show";
  const names = ["CAMPAIGN", "[ROUND]"];
  const { values, positionals } = readArgs(args, path, jsonOptions, names);
  const [id = "", round] = positionals;
  const number = numberOption(path, "ROUND", round);
  const client = clientOf(values, scope);
  if (number !== undefined) {
    const state = await client.get<RoundState>(`${pathOf(id)}/rounds/${number}`);
    if (values.json) scope.terminal.json(state);
    else showRound(state, scope);
    return;
  }
  const campaign = await client.get<CampaignState>(pathOf(id));
  const { terminal } = scope;
  if (values.json) {
    terminal.json(campaign);
    return;
  }
  terminal.print(`${campaign.id}: ${campaign.phase} ${campaign.reason}`.trimEnd());
  for (const past of campaign.past) terminal.print(roundLine(past, campaign.rounds));
  if (!isOver(campaign)) terminal.print(progressOf(campaign).text);
  if (campaign.baseline !== null) terminal.print(`\n${beforeAndAfter(campaign)}`);
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
  const header = [
    "region",
    "edge",
    "bucket",
    "examples",
    "steps",
    ...losses,
    "norm",
    "delta",
    "why",
  ];
  terminal.print(table(header, rows));
  for (const { region, phase, reason } of round.regions) {
    if (phase === "excluded" || phase === "silent") terminal.print(`${region} left out: ${reason}`);
  }
}

async function list(args: readonly string[], scope: CommandScope): Promise<void> {
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

async function stop(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus rounds stop";
  const { values, positionals } = readArgs(args, path, coordinatorOptions, ["CAMPAIGN"]);
  const id = positionals[0] ?? "";
  const { phase, reason } = await clientOf(values, scope).post<CampaignState>(
    `${pathOf(id)}/stop`,
    {},
  );
  scope.terminal.print(`${id}: ${phase} ${reason}`.trimEnd());
}

function clientOf(
  values: { coordinator?: string | undefined; dir?: string | undefined },
  scope: CommandScope,
): CoordinatorClient {
  return new CoordinatorClient(findCoordinator({ ...values, ...scope }), scope.signal);
}

function pathOf(id: string): string {
  return `/v1/campaigns/${encodeURIComponent(id)}`;
}
