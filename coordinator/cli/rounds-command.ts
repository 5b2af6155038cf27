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
import { inColumns, knobLines } from "./round-knobs.ts";
import { showQuarantine } from "./round-quarantine.ts";
import { scheduleRounds } from "./round-schedule.ts";
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
      options: inColumns([
        ...jsonLines,
        "--rounds N          how many rounds (1)",
        "--wait              shows progress; ends with exact match before and after",
        "--every TIME        and again every 6h, 2d, … from now on",
        ...knobLines,
      ]),
      examples: [
        "isthmus rounds start commands --rounds 10 --wait",
        "isthmus rounds start commands --goal 20 --quorum 12 --deadline 10m",
        "isthmus rounds start commands --steps 20 --learning-rate 0.002",
      ],
      run: startRounds,
    },
    {
      name: "schedule",
      summary: "Starts rounds by themselves: by the clock, or when edges' inputs drift.",
      usage: "[MODEL] [--every TIME] [--on-drift ANSWER] [--off] [OPTIONS]",
      options: [
        ...jsonLines,
        "--every TIME        from one start to the next, e.g. 6h or 2d; first in that time",
        "--on-drift ANSWER   ignore, suggest or start (suggest)",
        "--drifting-edges N  fewest edges that must have drifted (1)",
        "--cooldown TIME     after rounds have ended, how long drift starts no others (1h)",
        "--off               takes the schedule back; rounds under way go on",
        "and every option of `isthmus rounds start`, for the rounds that it starts",
      ],
      examples: [
        "isthmus rounds schedule commands --every 6h --rounds 3 --goal 20 --quorum 12",
        "isthmus rounds schedule commands --every 2d --on-drift start --cooldown 6h",
        "isthmus rounds schedule commands --off",
        "isthmus rounds schedule",
      ],
      run: scheduleRounds,
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
      name: "quarantine",
      summary: "Lists the deltas that were kept out of a round, and why.",
      usage: "CAMPAIGN ROUND [--json]",
      options: jsonLines,
      examples: ["isthmus rounds quarantine commands-261120233658 3"],
      run: showQuarantine,
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
