// `isthmus rounds start`: turns a command line into a campaign.
import type { CampaignState } from "../rounds/campaign-state.ts";
import { clientOf } from "./campaign-path.ts";
import {
  type CommandScope,
  coordinatorOptions,
  numberOption,
  type OptionSpecs,
  readArgs,
} from "./command.ts";
import { durationOption } from "./duration.ts";
import { type GivenOptions, knobOptions, sectionsOf } from "./round-knobs.ts";
import { follow } from "./round-watch.ts";

const path = "isthmus rounds start";

/** Options that say what a campaign is to be; `schedule` takes them too. */
export const planOptions: OptionSpecs = {
  ...coordinatorOptions,
  ...knobOptions,
  json: { type: "boolean" },
  rounds: { type: "string" },
  // What `--deadline` was called first.
  "round-timeout": { type: "string" },
};

export async function startRounds(args: readonly string[], scope: CommandScope): Promise<void> {
  const options = { ...planOptions, wait: { type: "boolean" }, every: { type: "string" } } as const;
  const read = readArgs<OptionSpecs>(args, path, options, ["MODEL"]);
  const values: GivenOptions = read.values;
  const request = requestOf(path, read.positionals[0] ?? "", values);
  const client = clientOf(values as Record<string, string>, scope);
  const campaign = await client.post<CampaignState>("/v1/campaigns", request);
  const { terminal } = scope;
  const { id, model, rounds } = campaign;
  if (values.wait === true) {
    if (values.json !== true) {
      terminal.print(`${id}: ${rounds} round${rounds === 1 ? "" : "s"} on ${model}`);
    }
    await follow(client, id, scope, values.json === true);
  } else if (values.json === true) {
    terminal.json(campaign);
  } else {
    terminal.print(`${id} has started: isthmus rounds watch ${id}`);
  }
}

/** What the options ask for. Faults: UsageError. */
export function requestOf(
  path: string,
  model: string,
  values: GivenOptions,
): { readonly model: string } & Record<string, unknown> {
  const sections = sectionsOf(path, values);
  const text = (name: string) => values[name] as string | undefined;
  const timeoutS = numberOption(path, "round-timeout", text("round-timeout"));
  const every = durationOption(path, "every", text("every"));
  const pace = {
    ...(timeoutS === undefined ? {} : { deadlineMs: timeoutS * 1000 }),
    ...sections.pace,
    ...(every === undefined ? {} : { every }),
  };
  return { model, rounds: numberOption(path, "rounds", text("rounds")) ?? 1, ...sections, pace };
}
