// `isthmus rounds watch`: follows a campaign to its end, through restarts of the coordinator.
import { Fault } from "../../proto/fault.ts";
import { systemClock } from "../../runtime/clock.ts";
import { pause } from "../../sync/artifact/pause.ts";
import { type CampaignState, isOver } from "../rounds/campaign-state.ts";
import { campaignPath, clientOf } from "./campaign-path.ts";
import { type CommandScope, coordinatorOptions, readArgs } from "./command.ts";
import type { CoordinatorClient } from "./coordinator-client.ts";
import { type CampaignView, panelOf } from "./round-panel.ts";
import { beforeAndAfter, evaluationsText, roundLine } from "./round-report.ts";

const RECONNECT_MS = 1_000;
/** How long a coordinator may be away while it is watched. */
const AWAY_MAX_MS = 120_000;

export async function watchRounds(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus rounds watch";
  const { values, positionals } = readArgs(args, path, coordinatorOptions, ["CAMPAIGN"]);
  await follow(clientOf(values, scope), positionals[0] ?? "", scope, false);
}

/** Follows a campaign to its end. Faults: when it was stopped early. */
export async function follow(
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
      for await (const campaign of client.follow<CampaignView>(`${campaignPath(id)}/events`)) {
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
        const { text, milestone, details } = panelOf(campaign);
        terminal.progress(text, milestone, details);
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
