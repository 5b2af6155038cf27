// Many streams at once through one door, a disturbance in their midst, and the proof afterwards:
// complete, each token once, and each the model's argmax given what was delivered.
import type { ExecutionContext } from "ava";
import { chatRequest, LIST_ITEMS } from "../../deploy/load/demo-requests.ts";
import {
  type Finished,
  type GenerateRequest,
  type GenerateResponse,
  Inference,
  type Started,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { createClient, messagesOf } from "../../runtime/grpc/bridge.ts";
import { plainChannel } from "../support/plain-channel.ts";

export {
  chatRequest,
  LIST_ITEMS,
  listRequest,
  listSchema,
  prompts,
} from "../../deploy/load/demo-requests.ts";

/**
 * How far below the best logit a delivered token may lie, in logits: prefill and decode use
 * different kernels, so a near-tie may fall either way after a move. Seen: below 0.1 on q8_0.
 */
export const EPSILON_LOGITS = 0.25;
export const BYTE_IDENTICAL_SHARE_MIN = 0.9;

export interface StreamRecord {
  readonly prompt: string;
  readonly ids: number[];
  text: string;
  started: Started | null;
  finished: Finished | null;
}

export type OpenStream = (prompt: string) => AsyncIterable<GenerateResponse>;

/** Whether a text is whole and what the schema of `listRequest` asks for. */
export function isWholeList(text: string): boolean {
  const { colors } = JSON.parse(text) as { colors: string[] };
  const known = colors.filter((color) => ["red", "green", "blue"].includes(color));
  return known.length === LIST_ITEMS && colors.length === LIST_ITEMS;
}

/** Streams through the gRPC door of one edge or gateway. */
export function grpcDoor(
  address: string,
  requestOf: (prompt: string) => GenerateRequest = chatRequest,
): { open: OpenStream; close(): void } {
  const channel = plainChannel(address);
  const client = createClient(Inference, channel);
  return {
    open: (prompt) => messagesOf(client.generate(requestOf(prompt))),
    close: () => channel.close(),
  };
}

/** Strikes once: at the first edge that has so many streams midway, not before `isTime`. */
export function strikeOnce(
  midwayMin: number,
  strike: (edge: string) => void,
  isTime: () => boolean = () => true,
) {
  const midway = new Map<string, Set<StreamRecord>>();
  let struck = "";
  return {
    get edge() {
      return struck;
    },
    onEvent(record: StreamRecord, { event }: GenerateResponse) {
      const edge = record.started?.edge ?? "";
      const streams = midway.get(edge) ?? new Set();
      midway.set(edge, streams);
      if (event.case === "finished") streams.delete(record);
      if (event.case !== "tokens" || record.ids.length < 2) return;
      streams.add(record);
      if (struck !== "" || streams.size < midwayMin || !isTime()) return;
      struck = edge;
      strike(edge);
    },
  };
}

export const movedOf = (records: readonly StreamRecord[]) =>
  records.filter(({ finished }) => (finished?.moves.length ?? 0) > 0);

/** Runs one stream for each prompt at once; tells of each event as it arrives. */
export function runStreams(
  open: OpenStream,
  wanted: readonly string[],
  onEvent: (record: StreamRecord, event: GenerateResponse) => void = () => {},
): Promise<StreamRecord[]> {
  const run = async (prompt: string): Promise<StreamRecord> => {
    const record: StreamRecord = { prompt, ids: [], text: "", started: null, finished: null };
    for await (const response of open(prompt)) {
      take(record, response);
      onEvent(record, response);
    }
    return record;
  };
  return Promise.all(wanted.map(run));
}

function take(record: StreamRecord, { event }: GenerateResponse): void {
  if (event.case === "started") {
    if (record.started !== null) throw new Error("a stream started twice");
    record.started = event.value;
  } else if (event.case === "tokens") {
    const { index, ids, text } = event.value;
    if (index !== record.ids.length) {
      throw new Error(`token ${index} came where ${record.ids.length} was due`);
    }
    record.ids.push(...ids);
    record.text += text;
  } else if (event.case === "finished") {
    if (record.finished !== null) throw new Error("a stream finished twice");
    record.finished = event.value;
    record.text += event.value.text;
  }
}

/** Checks every stream against the model itself and against its undisturbed twin. */
export async function proveStreams(
  t: ExecutionContext,
  records: readonly StreamRecord[],
  undisturbed: readonly StreamRecord[],
  judgeAddress: string,
): Promise<void> {
  const channel = plainChannel(judgeAddress);
  const judge = createClient(Inference, channel);
  let worstGap = 0;
  let identical = 0;
  for (const [at, record] of records.entries()) {
    const { finished } = record;
    if (finished === null) {
      t.fail(`${record.prompt}: ended without a last event`);
      continue;
    }
    t.is(finished.completionTokens, record.ids.length, "each token is counted once");
    const { prompt, model } = chatRequest(record.prompt);
    const { scores } = await judge.score({ model, prompt, ids: record.ids });
    t.is(scores.length, record.ids.length);
    for (const { gap } of scores) worstGap = Math.max(worstGap, gap);
    if (record.text === undisturbed[at]?.text) identical += 1;
  }
  channel.close();
  const moved = movedOf(records).length;
  const share = identical / records.length;
  t.log(
    `${records.length} streams, ${moved} moved mid-stream, worst gap ${worstGap.toFixed(4)} ` +
      `logits, ${(100 * share).toFixed(0)} % byte-identical to the undisturbed run`,
  );
  t.true(worstGap <= EPSILON_LOGITS, `a token lies ${worstGap} logits below the argmax`);
  t.true(share >= BYTE_IDENTICAL_SHARE_MIN, `only ${share} are byte-identical`);
}
