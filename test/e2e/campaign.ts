// A federated campaign on a real mesh while a caller streams without a break: what the end-to-end
// test runs a slice of, and the proof runs whole.
import { CoordinatorClient } from "../../coordinator/cli/coordinator-client.ts";
import type { CampaignState } from "../../coordinator/rounds/campaign-state.ts";
import { grpcDoor, prompts, runStreams } from "./stream-set.ts";
import type { TestMesh } from "./test-mesh.ts";

const CALLER_PROMPTS = 40;

export interface CampaignRun {
  readonly campaign: CampaignState;
  /** What a caller of the gateway got meanwhile. */
  readonly caller: CallerLog;
}

export interface CallerLog {
  readonly streams: number;
  /** Versions that answered, in order of their first answer. */
  readonly versions: readonly string[];
}

export interface CampaignOrder {
  readonly rounds: number;
  readonly params?: object;
  readonly strategy?: object;
  readonly pace?: object;
  readonly gate?: object;
}

/** Starts a campaign on the demo model and returns its last state. */
export async function followCampaign(
  coordinator: CoordinatorClient,
  order: CampaignOrder,
  onChange: (campaign: CampaignState) => void = () => {},
): Promise<CampaignState> {
  const body = { model: "commands", ...order };
  let campaign = await coordinator.post<CampaignState>("/v1/campaigns", body);
  const path = `/v1/campaigns/${campaign.id}/events`;
  for await (const state of coordinator.follow<CampaignState>(path)) {
    campaign = state;
    onChange(state);
  }
  return campaign;
}

/** Runs a campaign to its end. Throws when a stream of the caller breaks. */
export async function runCampaign(
  mesh: TestMesh,
  order: CampaignOrder,
  onChange: (campaign: CampaignState) => void = () => {},
): Promise<CampaignRun> {
  const stop = new AbortController();
  const coordinator = new CoordinatorClient(mesh.http("coordinator"), stop.signal);
  const caller = callWithoutBreak(mesh.grpc("us"), stop.signal);
  try {
    const campaign = await followCampaign(coordinator, order, onChange);
    stop.abort();
    return { campaign, caller: await caller };
  } finally {
    stop.abort();
  }
}

/** One stream after another until told to stop; each must end complete. */
async function callWithoutBreak(address: string, signal: AbortSignal): Promise<CallerLog> {
  const { open, close } = grpcDoor(address);
  const wanted = prompts(CALLER_PROMPTS);
  const versions = new Set<string>();
  let streams = 0;
  while (!signal.aborted) {
    const [record] = await runStreams(open, [wanted[streams % wanted.length]!]);
    if (record?.finished === null) throw new Error("a stream ended without its last event");
    versions.add(record?.started?.version ?? "");
    streams += 1;
  }
  close();
  return { streams, versions: [...versions] };
}
