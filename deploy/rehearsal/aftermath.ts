// After the last fault: what was acknowledged and isn't there, streams without an end, and
// containers that died by themselves.
import { composeTopology, edgeHost, REGIONS } from "../compose/topology.ts";
import type { FaultRecord } from "./fault-cost.ts";
import { model } from "./operator-actions.ts";
import { containerOf, type Stage } from "./stage.ts";

interface Given {
  /** By edge: the examples that it said it keeps. */
  readonly examples: ReadonlyMap<string, number>;
}

export async function whatIsMissing(
  stage: Stage,
  faults: readonly FaultRecord[],
  given: Given,
): Promise<string[]> {
  const missing = await Promise.all([
    lostVersions(stage, faults),
    lostExamples(stage, given),
    diedAlone(stage),
  ]);
  const { open, done } = stage.streams;
  return [
    ...open.map(({ region, id, edge }) => `stream ${id} from ${region}, at ${edge}, has no end`),
    ...REGIONS.filter((region) => !done.has(region)).map(
      (region) => `the callers in ${region} were cut off`,
    ),
    ...missing.flat(),
  ];
}

/** Versions whose publication the coordinator has acknowledged. */
async function lostVersions(stage: Stage, faults: readonly FaultRecord[]): Promise<string[]> {
  const acknowledged = faults.flatMap(({ note }) => note.match(/\w+@\d+/g) ?? []);
  const { lineage, served } = await model(stage);
  const known = new Set(lineage.map(({ version }) => version));
  return [
    ...[...new Set(acknowledged)]
      .filter((version) => !known.has(version))
      .map((version) => `${version} was published and isn't known any more`),
    ...(served === null ? ["no version is served"] : []),
  ];
}

async function lostExamples(stage: Stage, { examples }: Given): Promise<string[]> {
  const now = await keptExamples(stage);
  return [...examples].flatMap(([edge, kept]) => {
    const left = now.get(edge) ?? 0;
    return left >= kept ? [] : [`${edge} keeps ${left} of ${kept} examples`];
  });
}

/** By edge: how many private examples it has. */
export async function keptExamples(stage: Stage): Promise<Map<string, number>> {
  const edges = composeTopology().regions.flatMap((region) => region.edges);
  const counted = edges.map(async ({ name, httpPort }) => {
    const words = ["isthmus", "data", "ls", "--json", "--edge", `http://127.0.0.1:${httpPort}`];
    const listing = await stage.docker.run(["exec", containerOf(stage, edgeHost(name)), ...words]);
    return [name, (JSON.parse(listing) as { entries: number }).entries] as const;
  });
  return new Map(await Promise.all(counted));
}

/** The engine starts again what ends by itself, and counts; what we kill isn't counted. */
async function diedAlone({ docker, containers }: Stage): Promise<string[]> {
  const format = "{{.RestartCount}} {{.State.OOMKilled}}";
  const ids = [...containers.values()];
  const counts = (await docker.run(["inspect", "-f", format, ...ids])).split("\n");
  return [...containers.keys()].flatMap((service, at) => {
    const [restarts = "0", isStarved = "false"] = counts[at]?.split(" ") ?? [];
    if (isStarved === "true") return [`${service} ran out of memory`];
    return restarts === "0" ? [] : [`${service} ended by itself ${restarts} times`];
  });
}
