// `isthmus rounds schedule`: rounds that start by themselves, by the clock or when inputs drift.

import type { Schedule } from "../rounds/schedule/schedule-record.ts";
import type { RoundSuggestion } from "../rounds/schedule/schedules.ts";
import { clientOf } from "./campaign-path.ts";
import { type CommandScope, numberOption, type OptionSpecs, readArgs } from "./command.ts";
import { durationOption, durationText } from "./duration.ts";
import type { GivenOptions } from "./round-knobs.ts";
import { planOptions, requestOf } from "./round-start.ts";
import { table } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";

const path = "isthmus rounds schedule";

const options: OptionSpecs = {
  ...planOptions,
  every: { type: "string" },
  "on-drift": { type: "string" },
  "drifting-edges": { type: "string" },
  cooldown: { type: "string" },
  off: { type: "boolean" },
};

/** Options of the schedule itself; any other is one of the rounds that it starts. */
const policyOptions = ["every", "on-drift", "drifting-edges", "cooldown"];
const placeOptions = ["coordinator", "dir", "json", "off"];

interface Listing {
  readonly schedules: readonly Schedule[];
  readonly suggestions: readonly RoundSuggestion[];
}

export async function scheduleRounds(args: readonly string[], scope: CommandScope): Promise<void> {
  const read = readArgs<OptionSpecs>(args, path, options, ["[MODEL]"]);
  const values: GivenOptions = read.values;
  const client = clientOf(values as Record<string, string>, scope);
  const [model] = read.positionals;
  const isChange = Object.keys(values).some(
    (name) => !["coordinator", "dir", "json"].includes(name),
  );
  if (model === undefined) {
    if (isChange) throw new UsageError(`${path}: MODEL is missing`);
    const listing = await client.get<Listing>("/v1/schedules");
    if (values.json === true) scope.terminal.json(listing);
    else scope.terminal.print(listingText(listing));
    return;
  }
  const at = `/v1/schedules/${encodeURIComponent(model)}`;
  if (values.off === true) {
    await client.delete(at);
    scope.terminal.print(`${model}: no rounds start by themselves any more`);
    return;
  }
  const schedule = isChange
    ? await client.put<Schedule>(at, wantedOf(model, values))
    : await client.get<Schedule>(at);
  if (values.json === true) scope.terminal.json(schedule);
  else scope.terminal.print(scheduleText(schedule));
}

function wantedOf(model: string, values: GivenOptions): object {
  const text = (name: string) => values[name] as string | undefined;
  const every = durationOption(path, "every", text("every"));
  const cooldownMs = durationOption(path, "cooldown", text("cooldown"));
  const driftingEdges = numberOption(path, "drifting-edges", text("drifting-edges"));
  const onDrift = text("on-drift");
  if (every === undefined && onDrift === undefined) {
    throw new UsageError(`${path}: --every or --on-drift is missing`);
  }
  const { model: _, ...request } = requestOf(path, model, ofRounds(values));
  return {
    ...(every === undefined ? {} : { every }),
    ...(onDrift === undefined ? {} : { onDrift }),
    ...(driftingEdges === undefined ? {} : { driftingEdges }),
    ...(cooldownMs === undefined ? {} : { cooldownMs }),
    request,
  };
}

function ofRounds(values: GivenOptions): GivenOptions {
  const others = [...policyOptions, ...placeOptions];
  return Object.fromEntries(Object.entries(values).filter(([name]) => !others.includes(name)));
}

function scheduleText(schedule: Schedule): string {
  const { model, every, nextMs, onDrift, driftingEdges, last } = schedule;
  const edges = driftingEdges === 1 ? "an edge drifts" : `${driftingEdges} edges drift`;
  const answers = {
    ignore: "drift is ignored",
    suggest: `a round is suggested when ${edges}`,
    start: `rounds start when ${edges}`,
  };
  const lines = [
    every === null
      ? `${model}: not by the clock; ${answers[onDrift]}`
      : `${model}: every ${durationText(every)}, next ${timeText(nextMs)}; ${answers[onDrift]}`,
  ];
  if (last !== null) lines.push(`  last ${timeText(last.atMs)} (${last.why}): ${outcomeOf(last)}`);
  return lines.join("\n");
}

function listingText({ schedules, suggestions }: Listing): string {
  const rows = schedules.map(({ model, every, nextMs, onDrift, last }) => [
    model,
    every === null ? "-" : durationText(every),
    timeText(nextMs),
    onDrift,
    last === null ? "-" : `${timeText(last.atMs)} (${last.why})`,
    last === null ? "-" : outcomeOf(last),
  ]);
  const head = ["model", "every", "next", "on drift", "last", "what came of it"];
  const lines = [table(head, rows)];
  for (const suggestion of suggestions) lines.push(suggestionText(suggestion));
  return lines.join("\n");
}

/** What drift asks an operator to do. */
export function suggestionText({ model, edges }: RoundSuggestion): string {
  const [farthest] = edges;
  const others = edges.length > 1 ? ` and ${edges.length - 1} more` : "";
  const score = `${farthest?.score.toFixed(2)}, beyond ${farthest?.threshold.toFixed(2)}`;
  const what = `inputs of ${model} have drifted on ${farthest?.edge}${others} (${score})`;
  return `${what}: isthmus rounds start ${model}`;
}

function outcomeOf({ campaign, reason }: NonNullable<Schedule["last"]>): string {
  return campaign ?? `not started: ${reason}`;
}

function timeText(atMs: number | null): string {
  return atMs === null ? "-" : `${new Date(atMs).toISOString().slice(0, 16).replace("T", " ")}Z`;
}
