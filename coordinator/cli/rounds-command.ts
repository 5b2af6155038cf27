// `isthmus rounds`: start federated rounds, watch them, look at what they did.
import type { CampaignState } from "../rounds/campaign-state.ts";
import { campaignPath, clientOf } from "./campaign-path.ts";
import {
  type Command,
  type CommandScope,
  coordinatorOptionLines,
  coordinatorOptions,
  readArgs,
} from "./command.ts";
import { knobLines } from "./round-knobs.ts";
import { listRounds, showRounds } from "./round-show.ts";
import { startRounds } from "./round-start.ts";
import { watchRounds } from "./round-watch.ts";

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
        ...knobLines,
      ],
      examples: [
        "isthmus rounds start commands --rounds 10 --wait",
        "isthmus rounds start commands --goal 20 --quorum 12 --deadline 10m",
        "isthmus rounds start commands --steps 20 --learning-rate 0.002",
      ],
      run: startRounds,
    },
    {
      name: "watch",
      summary: "Follows a campaign to its end.",
      usage: "CAMPAIGN",
      options: coordinatorOptionLines,
      examples: ["isthmus rounds watch commands-261120233658"],
      run: watchRounds,
    },
    {
      name: "show",
      summary: "Shows a campaign's rounds, or one round's edges.",
      usage: "CAMPAIGN [ROUND] [--json]",
      options: jsonLines,
      examples: ["isthmus rounds show commands-261120233658 3"],
      run: showRounds,
    },
    {
      name: "ls",
      summary: "Lists campaigns, the newest first.",
      usage: "[--json]",
      options: jsonLines,
      examples: ["isthmus rounds ls"],
      run: listRounds,
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

async function stop(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus rounds stop";
  const { values, positionals } = readArgs(args, path, coordinatorOptions, ["CAMPAIGN"]);
  const id = positionals[0] ?? "";
  const { phase, reason } = await clientOf(values, scope).post<CampaignState>(
    `${campaignPath(id)}/stop`,
    {},
  );
  scope.terminal.print(`${id}: ${phase} ${reason}`.trimEnd());
}
