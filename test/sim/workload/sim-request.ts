// One request of a simulated workload, with what only the simulation knows: how long its answer
// will be, and which token comes at which place. At temperature 0 the answer depends on the request
// alone, wherever and however often its stream moves.
import { create } from "@bufbuild/protobuf";
import {
  type GenerateRequest,
  GenerateRequestSchema,
  type Policy,
  Priority,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { BLOCK_CHARS } from "../../../runtime/prefix/prompt-blocks.ts";
import { hashPair } from "../kernel/random-streams.ts";

const CHARS_PER_TOKEN = 4;
export const BLOCK_TOKENS = BLOCK_CHARS / CHARS_PER_TOKEN;
const VOCABULARY = 32_000;

/** A text that grows turn by turn: what two prompts of it share is what the shorter one has. */
export interface Conversation {
  readonly id: number;
  readonly model: string;
  /** The head that it shares with other conversations. */
  readonly system: number;
  readonly systemBlocks: number;
  /** Empty for one that isn't told to the mesh. */
  readonly sessionId: string;
}

export interface SimRequest {
  readonly id: number;
  /** The region where its caller is. */
  readonly site: number;
  readonly conversation: Conversation;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly blocks: readonly number[];
  readonly message: GenerateRequest;
  /** How long its caller waits for the end; Infinity for as long as it takes. */
  readonly timeoutMs: number;
  /** Tokens after which the caller goes away; Infinity for never. */
  readonly cancelAtToken: number;
}

export interface RequestShape {
  readonly id: number;
  readonly site: number;
  readonly conversation: Conversation;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly maxTokens: number;
  readonly tenant: string;
  readonly isBatch: boolean;
  readonly policy: Policy | undefined;
  readonly timeoutMs: number;
  readonly cancelAtToken: number;
}

export function createRequest(shape: RequestShape): SimRequest {
  const { id, site, conversation, promptTokens, outputTokens, timeoutMs, cancelAtToken } = shape;
  const message = create(GenerateRequestSchema, {
    model: conversation.model,
    prompt: { case: "text", value: String(id) },
    maxTokens: shape.maxTokens,
    sampling: { temperature: 0 },
    priority: shape.isBatch ? Priority.BATCH : Priority.INTERACTIVE,
    sessionId: conversation.sessionId,
    tenant: shape.tenant,
    ...(shape.policy === undefined ? {} : { policy: shape.policy }),
  });
  const blocks = blocksOf(conversation, promptTokens);
  return {
    ...{ id, site, conversation, promptTokens, outputTokens, blocks, message },
    ...{ timeoutMs, cancelAtToken },
  };
}

/** The names of the whole blocks among the conversation's first tokens. */
export function blocksOf(conversation: Conversation, tokens: number): number[] {
  const blocks: number[] = [];
  const count = Math.floor(tokens / BLOCK_TOKENS);
  for (let at = 0; at < count; at += 1) {
    const source = at < conversation.systemBlocks ? conversation.system : conversation.id;
    blocks.push(hashPair(source, at));
  }
  return blocks;
}

/** The only right token at a place of the answer. */
export function tokenAt(request: number, index: number): number {
  return hashPair(request, index) % VOCABULARY;
}

/** A token's text: nothing, one character or two. */
export function textOf(token: number): string {
  const last = String.fromCharCode(97 + (token % 26));
  if (token % 11 === 0) return "";
  return token % 5 === 0 ? `~${last}` : last;
}
