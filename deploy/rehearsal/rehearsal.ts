// A whole rehearsal: brings the mesh up, checks who serves whom, deals the faults while callers in
// every region stream, and takes everything down again.
import { composeTopology, edgeHost, REGIONS } from "../compose/topology.ts";
import { keptExamples, whatIsMissing } from "./aftermath.ts";
import { killEdge, killNats, killRegion, stopEdge } from "./container-faults.ts";
import type { Docker } from "./docker.ts";
import type { FaultRecord } from "./fault-cost.ts";
import { listenToCalm, startLoad, stopLoad } from "./load-control.ts";
import { federatedRound, rollOutAndBack } from "./operator-actions.ts";
import type { FaultName } from "./options.ts";
import { cutLinks, partition } from "./partition-faults.ts";
import { type Calm, type RehearsalReport, reportOf } from "./report.ts";
import { containerOf, type Stage, untilWhole } from "./stage.ts";
import { StreamWatch } from "./stream-watch.ts";
import { pause, TooLate } from "./until.ts";

const UP_MAX_MS = 600_000;
const DOWN_MAX_MS = 180_000;
const EXAMPLES_MAX_MS = 60_000;
/** Before the first fault and after the last one. */
const PLAIN_MS = 10_000;
const faults: Readonly<Record<FaultName, (stage: Stage) => Promise<FaultRecord>>> = {
  edge: (stage) => killEdge(stage, "us"),
  stop: (stage) => stopEdge(stage, "eu"),
  region: (stage) => killRegion(stage, "eu"),
  nats: (stage) => killNats(stage, "ap"),
  partition: (stage) => partition(stage, "eu"),
  cut: (stage) => cutLinks(stage, "ap"),
  round: federatedRound,
  rollout: rollOutAndBack,
};

export interface RehearsalOptions {
  readonly docker: Docker;
  readonly faults: readonly FaultName[];
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Requires: the image. The mesh is left running; `takeDown` removes it. */
export async function rehearse(options: RehearsalOptions): Promise<RehearsalReport> {
  const { docker, say, signal } = options;
  say("starting 3 regions, 9 edges, their NATS servers and the WAN between them");
  await docker.compose(["up", "-d", "--no-build", ...(await plainServices(docker))], {
    timeoutMs: UP_MAX_MS,
  });
  const streams = new StreamWatch();
  const [containers, networks] = await Promise.all([docker.containers(), docker.networks()]);
  const stage: Stage = { docker, containers, networks, streams, say, signal };
  await untilWhole(stage, "the start");
  await giveExamples(stage);
  const examples = await keptExamples(stage);
  const nearest: Calm[] = [];
  for (const region of REGIONS) nearest.push(await listenToCalm(stage, region));

  say("callers in every region begin to stream");
  const following = await startLoad(stage);
  await pause(PLAIN_MS);
  const records: FaultRecord[] = [];
  const missed: string[] = [];
  for (const name of options.faults) {
    try {
      records.push(await faults[name](stage));
    } catch (thrown) {
      signal.throwIfAborted();
      missed.push(`${name}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
      say(missed.at(-1) ?? "");
      if (thrown instanceof TooLate) break; // what follows would only fail with it
    }
  }
  await pause(PLAIN_MS);
  say("the last streams end");
  await stopLoad(stage, following);
  try {
    missed.push(...(await whatIsMissing(stage, records, { examples })));
  } catch (thrown) {
    missed.push(`the aftermath: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
  return reportOf(nearest, records, streams.ended, missed);
}

export async function takeDown(docker: Docker): Promise<void> {
  await docker.compose(["down", "-v", "--remove-orphans", "-t", "5"], { timeoutMs: DOWN_MAX_MS });
}

/** Everything but the generators, which start later. */
async function plainServices(docker: Docker): Promise<string[]> {
  const services = (await docker.compose(["config", "--services"])).split("\n");
  return services.filter((name) => !name.startsWith("load-"));
}

async function giveExamples(stage: Stage): Promise<void> {
  stage.say("giving every edge its private examples");
  for (const { name, httpPort } of composeTopology().regions.flatMap(({ edges }) => edges)) {
    const url = `http://127.0.0.1:${httpPort}`; // an edge takes them from its own machine alone
    const container = containerOf(stage, edgeHost(name));
    const words = ["isthmus-image", "demo", "examples", "--edge", name, "--url", url];
    await stage.docker.run(["exec", container, ...words], { timeoutMs: EXAMPLES_MAX_MS });
  }
}
