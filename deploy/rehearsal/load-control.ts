// Starts and stops the load generators, and hears what they print.
import { REGIONS } from "../compose/topology.ts";
import type { EndLine, LoadLine } from "../load/load-line.ts";
import type { Calm } from "./report.ts";
import type { Stage } from "./stage.ts";
import { until } from "./until.ts";

const CALM_MAX_MS = 240_000;
const START_MAX_MS = 120_000;
const READY_MAX_MS = 120_000;
/** A stream that isn't over by then is stuck. */
const LAST_STREAMS_MAX_S = 90;
const MS_A_SECOND = 1000;
/** One caller at a time, and few streams, so that nothing but the distance decides. */
const CALM_STREAMS = 3;
const CALM_CALLERS = [
  ["sdkCallers=1", "httpCallers=0"],
  ["sdkCallers=0", "httpCallers=1"],
];

/** How many streams of a region's callers its own edges serve while there is nothing else to do. */
export async function listenToCalm(stage: Stage, region: string): Promise<Calm> {
  const service = `load-${region}`;
  const ended: EndLine[] = [];
  for (const callers of CALM_CALLERS) {
    const settings = [...callers, `streamsMax=${CALM_STREAMS}`, "pauseMs=50"];
    const words = settings.flatMap((setting) => ["--set", setting]);
    const load = ["load", "--config", `/etc/isthmus/${service}.json`, ...words];
    const text = await stage.docker.compose(["run", "--rm", "-T", "--no-deps", service, ...load], {
      timeoutMs: CALM_MAX_MS,
    });
    for (const line of text.split("\n")) {
      if (!line.startsWith("{")) continue; // what compose says of its own doing
      const told = JSON.parse(line) as LoadLine;
      if (told.event === "end") ended.push(told);
    }
  }
  const nearest = ended.filter(({ servedIn }) => servedIn === region).length;
  stage.say(`callers in ${region}: ${nearest} of ${ended.length} streams served there`);
  return { region, streams: ended.length, nearest };
}

/** Starts a generator in each region; resolves once all stream. */
export async function startLoad(stage: Stage): Promise<Promise<void>[]> {
  const { docker, streams, signal } = stage;
  const services = REGIONS.map((region) => `load-${region}`);
  await docker.compose(["up", "-d", "--no-build", "--no-deps", ...services], {
    timeoutMs: START_MAX_MS,
  });
  const containers = await docker.containers();
  const following = services.map((service) => {
    const id = containers.get(service) ?? "";
    return docker.follow(id, (line) => streams.take(line)).ended;
  });
  await until({ what: "the callers", withinMs: READY_MAX_MS, signal }, () => {
    const late = REGIONS.filter((region) => !streams.ready.has(region));
    return late.length > 0 ? `nothing from ${late.join(", ")}` : { isReady: true };
  });
  return following;
}

/** No new streams; resolves when the last one is over and told. */
export async function stopLoad(stage: Stage, following: readonly Promise<void>[]): Promise<void> {
  const containers = await stage.docker.containers();
  const ids = REGIONS.map((region) => containers.get(`load-${region}`) ?? "");
  await stage.docker.run(["stop", "-t", String(LAST_STREAMS_MAX_S), ...ids], {
    timeoutMs: (REGIONS.length * LAST_STREAMS_MAX_S + 30) * MS_A_SECOND,
  });
  await Promise.all(following);
}
