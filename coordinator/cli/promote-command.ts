// `isthmus models promote`: a version's way to every edge by gate, canaries and waves, followed to
// its end.
import { Fault } from "../../proto/fault.ts";
import { systemClock } from "../../runtime/clock.ts";
import { pause } from "../../sync/artifact/pause.ts";
import type { RolloutView } from "../api/rollout-routes.ts";
import { isEnded, isForAll, type RolloutState } from "../rollout/rollout-state.ts";
import { mean, noSums, type VersionSums } from "../rollout/version-sums.ts";
import {
  type Command,
  type CommandScope,
  coordinatorOptionLines,
  coordinatorOptions,
  readArgs,
} from "./command.ts";
import { clientOf, modelPath } from "./models-client.ts";
import { type GivenOptions, optionLine, sectionsOf } from "./round-knobs.ts";
import { evaluationsText } from "./round-report.ts";
import { table } from "./terminal.ts";

const LOOK_MS = 500;
const path = "isthmus models promote";

/** Those of the campaigns' options that say how a version reaches the edges. */
const gateOptions = {
  "gate-margin": { type: "string" },
  "private-margin": { type: "string" },
  canaries: { type: "string" },
  patience: { type: "string" },
} as const;

export const promoteCommand: Command = {
  name: "promote",
  summary:
    "Proves a version, lets canary edges try it, then waves; takes it back if it does worse.",
  usage: "MODEL VERSION [--force] [--no-wait]",
  options: [
    ...coordinatorOptionLines,
    optionLine("--gate-margin P", "points of exact match that the public set may lose (5)"),
    optionLine("--private-margin P", "points that any region's private set may lose (20)"),
    optionLine("--canaries N", "edges that try it first (1)"),
    optionLine("--patience TIME", "longest that a stage waits for requests, while they come (5m)"),
    optionLine("--force", "without the gate, and although it was rejected"),
    optionLine("--no-wait", "tell that it has begun, and end"),
  ],
  examples: ["isthmus models promote commands 3", "isthmus models promote llama 2 --patience 1h"],
  run: promote,
};

export const rolloutCommand: Command = {
  name: "watch",
  summary: "Shows how a model's last rollout goes, and how both versions do with callers.",
  usage: "MODEL [--json]",
  options: [...coordinatorOptionLines, "--json              as JSON"],
  examples: ["isthmus models watch commands"],
  run: watch,
};

async function promote(args: readonly string[], scope: CommandScope): Promise<void> {
  const options = {
    ...coordinatorOptions,
    ...gateOptions,
    force: { type: "boolean" },
    "no-wait": { type: "boolean" },
  } as const;
  const { values, positionals } = readArgs(args, path, options, ["MODEL", "VERSION"]);
  const [model = "", version = ""] = positionals;
  const client = clientOf(values, scope);
  const given: GivenOptions = Object.fromEntries(
    Object.keys(gateOptions).map((name) => [name, values[name as keyof typeof gateOptions]]),
  );
  const body = { version, force: values.force ?? false, ...sectionsOf(path, given) };
  const begun = await client.post<RolloutState>(`${modelPath(model)}/promote`, body);
  const { terminal, signal } = scope;
  if (values["no-wait"]) {
    terminal.print(`${begun.version}: ${begun.phase}`);
    return;
  }
  for (;;) {
    const { rollout } = await client.get<RolloutView>(`${modelPath(model)}/rollout`);
    if (rollout === null || rollout.number !== begun.number) {
      throw new Fault("conflict", `another rollout of ${model} has begun`);
    }
    terminal.progress(progressText(rollout), `${rollout.phase} ${rollout.stage}`);
    if (isForAll(rollout)) {
      terminal.print(`${rollout.version} is served by every edge, and watched`);
      return;
    }
    if (isEnded(rollout)) {
      throw new Fault("failed-precondition", `${rollout.version} was ${endText(rollout)}`);
    }
    await pause(systemClock, LOOK_MS, signal);
  }
}

async function watch(args: readonly string[], scope: CommandScope): Promise<void> {
  const options = { ...coordinatorOptions, json: { type: "boolean" } } as const;
  const { values, positionals } = readArgs(args, "isthmus models watch", options, ["MODEL"]);
  const [model = ""] = positionals;
  const view = await clientOf(values, scope).get<RolloutView>(`${modelPath(model)}/rollout`);
  const { terminal } = scope;
  if (values.json) {
    terminal.json(view);
    return;
  }
  const { rollout, health } = view;
  if (rollout === null) {
    terminal.print(`${model} has had no rollout by canaries yet`);
    return;
  }
  terminal.print(`${progressText(rollout)}${rollout.reason === "" ? "" : `: ${rollout.reason}`}`);
  if (rollout.measured.length > 0) {
    terminal.print(
      `gate: ${evaluationsText(rollout.reference)} → ${evaluationsText(rollout.measured)}`,
    );
  }
  const names = [rollout.incumbent, rollout.version];
  const rows = names.map((name) => [name, ...healthCells(health[name] ?? noSums)]);
  terminal.print(`\n${table(["version", "requests", "errors", "ttft", "tpot", "rating"], rows)}`);
}

function progressText({ version, phase, stage, edges }: RolloutState): string {
  if (phase === "canary") return `${version}: tried by ${edges.join(", ") || "nobody yet"}`;
  if (phase === "wave") return `${version}: wave ${stage}, ${edges.length} edges`;
  return `${version}: ${phase}`;
}

function endText({ phase, reason }: RolloutState): string {
  const word = phase === "refused" ? "refused by the gate" : phase.replace("-", " ");
  return reason === "" ? word : `${word}: ${reason}`;
}

function healthCells(sums: VersionSums): string[] {
  const { requests, errors, ttftMsSum, ttftCount, tpotMsSum, tpotCount } = sums;
  const share = mean(100 * errors, requests);
  const ttftMs = mean(ttftMsSum, ttftCount);
  const tpotMs = mean(tpotMsSum, tpotCount);
  const rating = mean(sums.feedbackSum, sums.feedbackCount);
  return [
    String(requests),
    share === undefined ? "-" : `${share.toFixed(1)} %`,
    ttftMs === undefined ? "-" : `${ttftMs.toFixed(0)} ms`,
    tpotMs === undefined ? "-" : `${tpotMs.toFixed(1)} ms`,
    rating === undefined ? "-" : `${rating.toFixed(2)} of ${sums.feedbackCount}`,
  ];
}
