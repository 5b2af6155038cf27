// Evaluates a version on edges, exactly as it would be served: a public set on one edge, private
// sets each where they lie. Only counts come back.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { asFault, Fault } from "../../proto/fault.ts";
import {
  EvaluateCommandSchema,
  type EvaluateReply,
  EvaluateReplySchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { edgeId, regionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import {
  type ArtifactRef,
  artifactOf,
  type Evaluation,
  modelVersionOf,
  type VersionRecord,
} from "../catalogue/model-record.ts";
import type { EdgeView, Fleet } from "../rollout/fleet.ts";

/**
 * How long to wait before asking an edge again: a command or its answer may be lost with a link. An
 * edge answers the same command from the work that it has under way.
 */
const ASK_AGAIN_MS = 15_000;
/** Longest that an edge may take for one set, fetching and opening the candidate included. */
const EVALUATE_TIMEOUT_MS = 180_000;
const ASKS_MAX = EVALUATE_TIMEOUT_MS / ASK_AGAIN_MS;
/** How long to wait for an edge that is ready, and for another one after that failed. */
const READY_EDGE_WAIT_MS = 60_000;
const EDGES_TRIED_MAX = 3;
const LOOK_MS = 500;

export interface EvaluationRunOptions {
  readonly fleet: Fleet;
  readonly nats: Pick<NatsLink, "request">;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface EvaluationTask {
  readonly version: VersionRecord;
  readonly examplesMax: number;
  /** Whether the edge should keep the version open: it is about to be served. */
  readonly keepOpen: boolean;
}

/**
 * Evaluates on the public set, on the first ready edge that manages to.
 * Faults: `unavailable` when none does.
 */
export async function evaluatePublic(
  task: EvaluationTask,
  dataset: ArtifactRef,
  options: EvaluationRunOptions,
): Promise<Evaluation> {
  const tried = new Set<string>();
  let reason = `no edge is ready to evaluate ${task.version.version}`;
  while (tried.size < EDGES_TRIED_MAX) {
    const edge = await nextReadyEdge(task.version.model, tried, options);
    if (edge === undefined) break;
    tried.add(nameOf(edge));
    const reply = await evaluateOn(edge, task, dataset, options);
    if (reply.failed === "" && reply.examples > 0) {
      const { examples, exact } = reply;
      const name = datasetName(task.version.model, dataset.name);
      const edges = [nameOf(edge)];
      return { dataset: name, public: true, examples, exact, edges, counts: [] };
    }
    reason = `${nameOf(edge)}: ${reply.failed || "it evaluated no example"}`;
  }
  throw new Fault("unavailable", reason);
}

/** Evaluates on every ready edge's private examples; sets of the same name are counted together. */
export async function evaluatePrivate(
  task: EvaluationTask,
  options: EvaluationRunOptions,
): Promise<Evaluation[]> {
  const edges = options.fleet.readyEdges(task.version.model);
  const replies = await Promise.all(
    edges.map(async (edge) => ({ edge, reply: await evaluateOn(edge, task, undefined, options) })),
  );
  const sets = new Map<string, Evaluation>();
  for (const { edge, reply } of replies) {
    // An edge without private examples has nothing to say; one that failed is missing below.
    if (reply.failed !== "" || reply.examples === 0) continue;
    const { dataset, examples } = reply;
    const empty = { dataset, public: false, examples: 0, exact: 0, edges: [], counts: [] };
    const known = sets.get(dataset) ?? empty;
    const exact = Math.min(reply.exact, examples);
    const counts = [...known.counts, { edge: nameOf(edge), examples, exact }];
    counts.sort((a, b) => (a.edge < b.edge ? -1 : 1));
    sets.set(dataset, {
      ...known,
      examples: known.examples + examples,
      exact: known.exact + exact,
      edges: counts.map((one) => one.edge),
      counts,
    });
  }
  return [...sets.values()].sort((a, b) => (a.dataset < b.dataset ? -1 : 1));
}

/** What people call a public set: its file's name without what all of the model's sets share. */
export function datasetName(model: string, fileName: string): string {
  const stem = fileName.replace(/\.jsonl?$/i, "").replace(/(^|[-_.])(held-?out|test|eval)$/i, "");
  const own = stem.startsWith(`${model}-`) ? stem.slice(model.length + 1) : stem;
  return own === "" || own === model ? "public" : own;
}

async function evaluateOn(
  { region, edge }: EdgeView,
  task: EvaluationTask,
  dataset: ArtifactRef | undefined,
  options: EvaluationRunOptions,
): Promise<EvaluateReply> {
  const command = create(EvaluateCommandSchema, {
    version: modelVersionOf(task.version),
    ...(dataset === undefined ? {} : { dataset: artifactOf(dataset) }),
    examplesMax: task.examplesMax,
    keepOpen: task.keepOpen,
  });
  const subject = subjects.evaluate(regionId(region), edgeId(edge.edge));
  const body = toBinary(EvaluateCommandSchema, command);
  const { promise: gone, stop } = untilGone(region, edge.edge, options);
  const asking = new AbortController();
  try {
    const answer = ask(subject, body, asking.signal, options);
    return fromBinary(EvaluateReplySchema, await Promise.race([answer, gone]));
  } catch (thrown) {
    return create(EvaluateReplySchema, {
      region,
      edge: edge.edge,
      failed: asFault(thrown).message,
    });
  } finally {
    stop();
    asking.abort();
  }
}

async function ask(
  subject: string,
  body: Uint8Array,
  signal: AbortSignal,
  { nats }: EvaluationRunOptions,
): Promise<Uint8Array> {
  for (let asks = 1; ; asks += 1) {
    try {
      return await nats.request(subject, body, ASK_AGAIN_MS);
    } catch (thrown) {
      const isLost = asFault(thrown).code === "link-lost";
      if (!isLost || asks === ASKS_MAX || signal.aborted) throw thrown;
    }
  }
}

/** Rejects when the edge is no longer among the living, or nobody wants the answer any more. */
function untilGone(region: string, name: string, options: EvaluationRunOptions) {
  const { fleet, clock, signal } = options;
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => undefined);
  const cancel = () => reject(new Fault("cancelled", "the evaluation is not wanted any more"));
  const timer = clock.every(LOOK_MS, () => {
    const isAlive = fleet.edges().some((view) => {
      return view.region === region && view.edge.edge === name && view.alive;
    });
    if (!isAlive) reject(new Fault("link-lost", `edge ${region}/${name} is gone`));
  });
  signal.addEventListener("abort", cancel, { once: true });
  const stop = () => {
    timer.cancel();
    signal.removeEventListener("abort", cancel);
  };
  return { promise, stop };
}

function nextReadyEdge(
  model: string,
  tried: ReadonlySet<string>,
  options: EvaluationRunOptions,
): Promise<EdgeView | undefined> {
  const { fleet, clock, signal } = options;
  return new Promise((resolve) => {
    const end = (found: EdgeView | undefined) => {
      timeout.cancel();
      look.cancel();
      resolve(found);
    };
    const check = () => {
      const found = fleet.readyEdges(model).find((edge) => !tried.has(nameOf(edge)));
      if (found !== undefined || signal.aborted) end(found);
    };
    const timeout = clock.after(READY_EDGE_WAIT_MS, () => end(undefined));
    const look = clock.every(LOOK_MS, check);
    check();
  });
}

function nameOf({ region, edge }: EdgeView): string {
  return `${region}/${edge.edge}`;
}
