// A whole chaos run on a real mesh: what calm looks like, callers and faults for a while, then the
// judgement.
import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { callWithoutEnd, type OpenDoor, plainDoor, sdkDoor } from "../../deploy/load/callers.ts";
import { type Question, questions } from "../../deploy/load/question.ts";
import { StreamLog } from "../../deploy/load/stream-log.ts";
import { meshLayout } from "../../deploy/local/layout.ts";
import { systemClock } from "../../runtime/clock.ts";
import { seededRandom } from "../../sync/formats/seeded-random.ts";
import { startTestMesh, type TestMesh } from "../e2e/test-mesh.ts";
import { auditStreams } from "./argmax-audit.ts";
import { type ChaosReport, reportOf } from "./chaos-report.ts";
import { dealFaults } from "./fault-dealer.ts";
import type { Scene } from "./fault-drivers.ts";
import type { FaultRecord } from "./fault-record.ts";
import { type FaultKind, planFaults } from "./fault-schedule.ts";
import { layLinks, type MeshLinks } from "./mesh-links.ts";
import { Operator } from "./operator.ts";

const SDK_CALLERS = 6;
/** A stream this far into its answer may end before a blow lands. */
const FRESH_SHARE_MAX = 0.6;
const NANOSECONDS_A_MS = 1e6;
/** Kept of a process's log when it ends badly. */
const LAST_WORDS_LINES = 4;
/** Far more than callers; older requests have ended. */
const OPEN_LOGS_MAX = 200;

export interface ChaosOptions {
  readonly seconds: number;
  readonly seed: number;
  readonly kinds: readonly FaultKind[];
  readonly regions?: readonly string[];
  readonly edges?: number;
  /** Faults that are dealt at once, each in a region of its own. Default 1. */
  readonly atOnce?: number;
  /** Where to keep the logs of the mesh's processes, which are removed with it otherwise. */
  readonly logDir?: string;
  readonly say?: (line: string) => void;
}

/** Runs chaos and reports. The mesh is gone afterwards. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const say = options.say ?? (() => {});
  const random = seededRandom(options.seed);
  const crashes: string[] = [];
  let links: MeshLinks | undefined;
  let logsOfMesh = "";
  try {
    say("starting a mesh with a proxy on every link");
    await using mesh = await startTestMesh({
      ...(options.regions && { regions: options.regions }),
      ...(options.edges && { edges: options.edges }),
      wire: async (shape) => {
        links = await layLinks(shape, () => random.next());
        logsOfMesh = meshLayout(shape).logDir;
        return links.via;
      },
      onEnd: (name, { code, signal }) => {
        // Those that we end get SIGKILL, or SIGTERM, after which they end with 0 within 5 s.
        if (code === 0 || signal === "SIGKILL") return;
        const how = signal ?? `exit code ${code}`;
        crashes.push(`${name} ended with ${how}: ${lastWords(join(logsOfMesh, `${name}.log`))}`);
      },
    });
    if (links === undefined) throw new Error("the mesh was not wired");
    try {
      return await disturb(mesh, links, options, crashes, say);
    } finally {
      if (options.logDir !== undefined) {
        cpSync(mesh.handle.layout.logDir, options.logDir, { recursive: true });
      }
    }
  } finally {
    await links?.[Symbol.asyncDispose]();
  }
}

function lastWords(logPath: string): string {
  return readFileSync(logPath, "utf8").trimEnd().split("\n").slice(-LAST_WORDS_LINES).join(" | ");
}

async function disturb(
  mesh: TestMesh,
  links: MeshLinks,
  options: ChaosOptions,
  crashes: readonly string[],
  say: (line: string) => void,
): Promise<ChaosReport> {
  const { seconds, seed, kinds } = options;
  const operator = new Operator(mesh.http("coordinator"), new AbortController().signal);
  if (kinds.includes("rollout")) await operator.publishTwin(mesh.handle.layout.shape.dir);
  const wanted = questions();
  const [judge] = mesh.handle.layout.regions;
  const judgeAddress = mesh.grpc(judge?.name ?? "");
  say("listening to calm answers");
  const undisturbed = await calmAnswers(judgeAddress, wanted);

  const scene = { mesh, links, operator };
  const loop = monitorEventLoopDelay();
  loop.enable();
  const { logs, faults, missing } = await streamUnderFaults(scene, options, undisturbed, say);
  loop.disable();
  say("judging what was delivered");
  const complete = logs.filter((log) => log.isComplete);
  const audit = await auditStreams(complete, judgeAddress);
  const answers = new Map([...undisturbed].map(([id, { text }]) => [id, text]));
  return reportOf({
    ...{ seed, seconds, logs, faults, missing, audit, crashes },
    undisturbed: answers,
    ownStallMs: Math.round(loop.max / NANOSECONDS_A_MS),
  });
}

/** Callers and dealers at work together, until the time is over and all is healed again. */
async function streamUnderFaults(
  scene: Scene,
  { seconds, seed, kinds, atOnce = 1 }: ChaosOptions,
  undisturbed: ReadonlyMap<string, StreamLog>,
  say: (line: string) => void,
) {
  const logs: StreamLog[] = [];
  const stop = new AbortController();
  const timer = systemClock.after(1000 * seconds, () => stop.abort());
  const doors = await openDoors(scene.mesh, scene.links);
  const call = (door: OpenDoor, at: number) =>
    callWithoutEnd(door, {
      clock: systemClock,
      random: seededRandom(seed + 1 + at),
      questions: questions(),
      stop: stop.signal,
      onOpen: (log) => logs.push(log),
    });
  const struck = new Set<string>();
  const dealer = (_: unknown, at: number) =>
    dealFaults({
      scene,
      clock: systemClock,
      struck,
      midwayAt: (edge, exceptDoors) => freshStreams(edge, exceptDoors, logs, undisturbed),
      plan: planFaults(seed + at, kinds),
      stop: stop.signal,
      onFault: (record) => say(`${progressOf(record)}; ${logs.length} requests`),
    });
  say(`${doors.length} callers stream; dealing faults for ${seconds} s`);
  const callers = doors.map(call);
  try {
    const dealt = await Promise.all(Array.from({ length: atOnce }, dealer));
    await Promise.all(callers);
    const faults = dealt.flatMap(({ records }) => records);
    return { logs, faults, missing: new Set(dealt.flatMap((one) => [...one.missing])) };
  } finally {
    stop.abort();
    timer.cancel();
    for (const door of doors) door[Symbol.dispose]();
  }
}

/** Streams that the edge serves and that have most of their answer still before them. */
function freshStreams(
  edge: string,
  exceptDoors: readonly string[],
  logs: readonly StreamLog[],
  undisturbed: ReadonlyMap<string, StreamLog>,
): number {
  let fresh = 0;
  // The newest are last: those before the oldest that still runs are of no interest.
  for (const log of logs.slice(-OPEN_LOGS_MAX)) {
    if (exceptDoors.includes(log.door.name)) continue;
    const expected = undisturbed.get(log.question.id)?.ids.length ?? 0;
    if (log.isMidwayAt(edge) && log.ids.length < FRESH_SHARE_MAX * expected) fresh += 1;
  }
  return fresh;
}

/** One plain caller at each gateway and at the first edge of each region, and some of the SDK. */
async function openDoors(mesh: TestMesh, links: MeshLinks): Promise<OpenDoor[]> {
  const { regions } = mesh.handle.layout;
  const plain = regions.flatMap(({ name, edges }) => [
    plainDoor({ kind: "gateway", name }, mesh.grpc(name), systemClock),
    ...edges
      .slice(0, 1)
      .map((edge) => plainDoor({ kind: "edge", name: edge.name }, edge.grpc, systemClock)),
  ]);
  const seeds = regions.map(({ name }) => links.link("anybody", name).address);
  const sdk = Array.from({ length: SDK_CALLERS }, (_, at) => sdkDoor(`sdk-${at + 1}`, seeds));
  return [...plain, ...(await Promise.all(sdk))];
}

async function calmAnswers(address: string, wanted: readonly Question[]) {
  using door = plainDoor({ kind: "gateway", name: "calm" }, address, systemClock);
  const answers = new Map<string, StreamLog>();
  for (const question of wanted) {
    const log = new StreamLog(door.door, question, 0);
    for await (const event of door.open(question)) log.take(event, 0);
    answers.set(question.id, log);
  }
  return answers;
}

function progressOf({ kind, victim, midway, dealtMs, healedMs, wholeMs, problem }: FaultRecord) {
  const lasted = ((healedMs - dealtMs) / 1000).toFixed(1);
  const whole = wholeMs === 0 ? "not whole" : `whole ${((wholeMs - healedMs) / 1000).toFixed(1)} s`;
  const note = problem === "" ? "" : ` — ${problem}`;
  return `${kind} of ${victim.name}, ${midway} streams midway: ${lasted} s, ${whole} later${note}`;
}
