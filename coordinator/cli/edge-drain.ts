// `isthmus edges drain` and `undrain`: takes one edge out of service, and back.
import { systemClock } from "../../runtime/clock.ts";
import { pause } from "../../sync/artifact/pause.ts";
import type { DrainState } from "../api/drain-routes.ts";
import {
  type Command,
  type CommandScope,
  coordinatorOptionLines,
  coordinatorOptions,
  readArgs,
} from "./command.ts";
import { CoordinatorClient } from "./coordinator-client.ts";
import { findCoordinator } from "./mesh-file.ts";
import { UsageError } from "./usage-error.ts";

const LOOK_MS = 250;
const GRACE_DEFAULT = "30s";
const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

const drainPath = "isthmus edges drain";
const undrainPath = "isthmus edges undrain";
const edgeOptions = { ...coordinatorOptions, region: { type: "string" } } as const;
const edgeLines = [
  ...coordinatorOptionLines,
  "--region REGION     the edge's region, where several have one of that name",
];

export const drainCommand: Command = {
  name: "drain",
  summary: "Takes an edge out of service: new work goes elsewhere, streams end or move.",
  usage: "EDGE [--grace 30s] [--wait]",
  options: [
    ...edgeLines,
    `--grace TIME        streams still there after so long move to other edges (${GRACE_DEFAULT})`,
    "--wait              until nothing runs there any more",
    "An edge that is started again isn't draining.",
  ],
  examples: ["isthmus edges drain us-1 --wait", "isthmus edges drain us-1 --grace 5m"],
  run: drain,
};

export const undrainCommand: Command = {
  name: "undrain",
  summary: "Takes a drain back: the edge serves again.",
  usage: "EDGE",
  options: edgeLines,
  examples: ["isthmus edges undrain us-1"],
  run: undrain,
};

async function drain(args: readonly string[], scope: CommandScope): Promise<void> {
  const options = { ...edgeOptions, grace: { type: "string" }, wait: { type: "boolean" } } as const;
  const { values, positionals } = readArgs(args, drainPath, options, ["EDGE"]);
  const [edge = ""] = positionals;
  const graceMs = durationMs(drainPath, "grace", values.grace ?? GRACE_DEFAULT);
  const client = new CoordinatorClient(findCoordinator({ ...values, ...scope }), scope.signal);
  const path = await pathOf(drainPath, edge, values.region, client);
  const state = await client.post<DrainState>(path, { graceMs });
  if (values.wait) await waitForIdle(edge, path, client, scope);
  else scope.terminal.print(`${edge} is draining: ${stateText(state)}`);
}

async function undrain(args: readonly string[], scope: CommandScope): Promise<void> {
  const { values, positionals } = readArgs(args, undrainPath, edgeOptions, ["EDGE"]);
  const [edge = ""] = positionals;
  const client = new CoordinatorClient(findCoordinator({ ...values, ...scope }), scope.signal);
  await client.delete<DrainState>(await pathOf(undrainPath, edge, values.region, client));
  scope.terminal.print(`${edge} takes requests again`);
}

/** Faults: those of an edge that doesn't answer any more; UsageError when somebody undrained it. */
async function waitForIdle(
  edge: string,
  path: string,
  client: CoordinatorClient,
  { terminal, signal }: CommandScope,
): Promise<void> {
  for (;;) {
    const state = await client.get<DrainState>(path);
    if (!state.draining) throw new UsageError(`${drainPath}: ${edge} was taken back meanwhile`);
    if (state.inFlight === 0) {
      const still = state.relayed === 0 ? "" : `; ${relayedText(state.relayed)}`;
      terminal.print(`${edge} is idle${still}`);
      return;
    }
    const text = `${edge} is draining: ${stateText(state)}`;
    terminal.progress(text, text);
    await pause(systemClock, LOOK_MS, signal);
  }
}

function stateText({ inFlight, relayed }: DrainState): string {
  const text = `${inFlight} in flight`;
  return relayed === 0 ? text : `${text}; ${relayedText(relayed)}`;
}

/** They would lose their connection, were the edge to end now. */
function relayedText(relayed: number): string {
  return `${relayed} of its callers' are relayed to other edges`;
}

/** Where the coordinator is asked about the edge. Faults: UsageError for none or several. */
async function pathOf(
  command: string,
  edge: string,
  region: string | undefined,
  client: CoordinatorClient,
): Promise<string> {
  const { edges } = await client.get<{ edges: { region: string; edge: string }[] }>("/v1/edges");
  const named = edges.filter((each) => each.edge === edge && (!region || each.region === region));
  const [found] = named;
  if (found === undefined) throw new UsageError(`${command}: there is no edge ${edge}`);
  if (named.length > 1) {
    const regions = named.map((each) => each.region).join(", ");
    throw new UsageError(`${command}: ${edge} is in ${regions}: say which with --region`);
  }
  return `/v1/edges/${encodeURIComponent(found.region)}/${encodeURIComponent(edge)}/drain`;
}

/** Reads `500ms`, `30s`, `5m`, `1h`. Faults: UsageError. */
function durationMs(command: string, name: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  const unitMs = unitsMs[match?.[2] ?? ""];
  if (match === null || unitMs === undefined) {
    throw new UsageError(`${command}: --${name} must be a time such as 30s or 5m, not ${text}`);
  }
  return Math.round(Number(match[1]) * unitMs);
}
