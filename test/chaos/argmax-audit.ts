// Judges finished streams by the model itself: every delivered token teacher-forced, and the end.
import { join } from "node:path";
import type { StreamLog } from "../../deploy/load/stream-log.ts";
import type { ScoreResponse } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { FinishReason, Inference } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { createClient } from "../../runtime/grpc/bridge.ts";
import { metadataNumber } from "../../sync/formats/gguf-metadata.ts";
import { readGguf } from "../../sync/formats/gguf-reader.ts";
import { EPSILON_LOGITS } from "../e2e/stream-set.ts";
import { plainChannel } from "../support/plain-channel.ts";

export const DEMO_MODEL = join(import.meta.dirname, "../../deploy/demo-model/commands-q8_0.gguf");

export interface AuditVerdict {
  /** Streams that were judged; equal ones are scored once. */
  readonly streams: number;
  /** How far below the best logit a delivered token lay, at worst. */
  readonly worstGap: number;
  /** Streams with a token that is no argmax, beyond near-ties. */
  readonly wrong: number;
  /** Streams that end where the model goes on, though presented as finished. */
  readonly truncated: number;
}

/** Scores each complete stream of a free answer on the edge or gateway at `address`. */
export async function auditStreams(
  logs: readonly StreamLog[],
  address: string,
): Promise<AuditVerdict> {
  const endOfText = endTokenOf(DEMO_MODEL);
  const channel = plainChannel(address);
  const judge = createClient(Inference, channel);
  const judged = new Map<string, Promise<ScoreResponse>>();
  const free = logs.filter(({ question }) => question.isFree);
  let worstGap = 0;
  let wrong = 0;
  let truncated = 0;
  for (const { question, ids, finished } of free) {
    const { model, prompt, maxTokens } = question.request;
    const isStopped = finished?.reason === FinishReason.STOP;
    const forced = isStopped ? [...ids, endOfText] : ids;
    const key = JSON.stringify([question.id, forced]);
    const asked = judged.get(key) ?? Promise.resolve(judge.score({ model, prompt, ids: forced }));
    judged.set(key, asked);
    const gaps = (await asked).scores.map(({ gap }) => gap);
    const worst = Math.max(0, ...gaps.slice(0, ids.length));
    worstGap = Math.max(worstGap, worst);
    if (worst > EPSILON_LOGITS || gaps.length !== forced.length) wrong += 1;
    const isWhole = isStopped ? (gaps.at(-1) ?? 0) <= EPSILON_LOGITS : ids.length === maxTokens;
    if (!isWhole) truncated += 1;
  }
  channel.close();
  return { streams: free.length, worstGap, wrong, truncated };
}

function endTokenOf(path: string): number {
  const id = metadataNumber(readGguf(path).metadata, "tokenizer.ggml.eos_token_id");
  if (id === undefined) throw new Error(`${path} names no end token`);
  return id;
}
