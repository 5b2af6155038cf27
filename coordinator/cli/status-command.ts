// `isthmus status`: the mesh at a glance.
import type { StatusView } from "../api/fleet-routes.ts";
import type { RolloutProgress } from "../rollout/rollout-progress.ts";
import {
  type Command,
  type CommandScope,
  coordinatorOptionLines,
  coordinatorOptions,
  readArgs,
} from "./command.ts";
import { CoordinatorClient } from "./coordinator-client.ts";
import { findCoordinator } from "./mesh-file.ts";
import { suggestionText } from "./round-schedule.ts";
import { table } from "./terminal.ts";

const path = "isthmus status";

export const statusCommand: Command = {
  name: "status",
  summary: "The mesh at a glance: regions, models, what is under way.",
  usage: "[--json]",
  options: [...coordinatorOptionLines, "--json              as JSON"],
  examples: ["isthmus status", "isthmus status --json | jq .regions"],
  run,
};

async function run(args: readonly string[], scope: CommandScope): Promise<void> {
  const { values } = readArgs(args, path, { ...coordinatorOptions, json: { type: "boolean" } });
  const address = findCoordinator({ ...values, ...scope });
  const status = await new CoordinatorClient(address, scope.signal).get<StatusView>("/v1/status");
  const { terminal } = scope;
  if (values.json) {
    terminal.json(status);
    return;
  }
  const waiting = status.recordsWaiting > 0 ? `, ${status.recordsWaiting} records to store` : "";
  terminal.print(`coordinator ${address}: NATS ${status.nats}${waiting}\n`);
  const regions = status.regions.map(({ region, reachable, http, edges, alive }) => {
    return [region, reachable ? "reachable" : "silent", `${alive} of ${edges}`, http];
  });
  terminal.print(table(["region", "state", "edges alive", "http"], regions));
  const models = status.models.map(({ model, served, versions, rollout }) => {
    return [model, served ?? "-", String(versions), rolloutText(rollout)];
  });
  terminal.print(`\n${table(["model", "served", "versions", "edges"], models)}`);
  for (const { id, phase, round, rounds, roundPhase } of status.campaigns) {
    terminal.print(
      `\n${id}: ${roundPhase ?? phase}${round ? ` (round ${round} of ${rounds})` : ""}`,
    );
  }
  for (const suggestion of status.suggestions) terminal.print(`\n${suggestionText(suggestion)}`);
}

/** How far a version has come, in words. */
export function rolloutText(rollout: RolloutProgress | null): string {
  if (rollout === null) return "-";
  const { serving, waiting, failed } = rollout;
  const parts = [`${serving.length} serving`];
  if (waiting.length > 0) parts.push(`${waiting.length} on the way`);
  if (failed.length > 0) parts.push(`${failed.length} failed`);
  return parts.join(", ");
}
