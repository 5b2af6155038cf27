// One answer of a model, streamed to the terminal, with who made it and how fast.
import { z } from "zod";
import { Fault } from "../../proto/fault.ts";
import { systemClock } from "../../runtime/clock.ts";
import type { CommandScope } from "./command.ts";
import { EventReader } from "./event-reader.ts";
import { refusalOf } from "./role-request.ts";

export interface ChatTurn {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

export interface ChatRequest {
  readonly url: string;
  readonly model: string;
  readonly maxTokens?: number | undefined;
  readonly temperature?: number | undefined;
}

/** What is read of a chunk; there is more in it. */
const chunkSchema = z.object({
  choices: z
    .array(
      z.object({
        delta: z.object({ content: z.string().nullish() }).optional(),
        finish_reason: z.string().nullish(),
      }),
    )
    .default([]),
  usage: z.object({ completion_tokens: z.number() }).nullish(),
  isthmus: z
    .object({ edge: z.string(), region: z.string(), version: z.string(), moves: z.array(z.any()) })
    .partial()
    .nullish(),
  error: z.object({ message: z.string() }).optional(),
});
type Chunk = z.infer<typeof chunkSchema>;

/** Streams the answer to the last turn; returns its text. */
export async function streamChat(
  request: ChatRequest,
  turns: readonly ChatTurn[],
  { terminal, signal }: CommandScope,
): Promise<string> {
  const startMs = systemClock.monotonicMs();
  let firstMs: number | undefined;
  let text = "";
  let end: Chunk = { choices: [] };
  let isFinished = false;
  for await (const chunk of chunksOf(request, turns, signal)) {
    if (chunk.error !== undefined) throw new Fault("internal", chunk.error.message);
    const piece = chunk.choices[0]?.delta?.content ?? "";
    if (piece !== "") firstMs ??= systemClock.monotonicMs();
    text += piece;
    terminal.write(piece);
    isFinished ||= chunk.choices[0]?.finish_reason != null;
    end = { ...end, ...(chunk.usage && { usage: chunk.usage }), ...knownOf(chunk) };
  }
  terminal.print("");
  if (!isFinished) throw new Fault("link-lost", "the answer broke off");
  const times = { startMs, firstMs: firstMs ?? startMs, endMs: systemClock.monotonicMs() };
  terminal.complain(summaryOf(end, times));
  return text;
}

function knownOf({ isthmus }: Chunk): Pick<Chunk, "isthmus"> | undefined {
  return isthmus ? { isthmus } : undefined;
}

async function* chunksOf(
  { url, model, maxTokens, temperature }: ChatRequest,
  messages: readonly ChatTurn[],
  signal: AbortSignal,
): AsyncGenerator<Chunk> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    signal,
    body: JSON.stringify({
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
      ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
      ...(temperature === undefined ? {} : { temperature }),
    }),
  }).catch((thrown: unknown) => {
    throw new Fault("unavailable", `${url} does not answer`, { cause: thrown });
  });
  if (!response.ok) throw await refusalOf(response);
  const reader = new EventReader();
  for await (const bytes of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    for (const data of reader.read(bytes)) {
      if (data !== "[DONE]") yield chunkSchema.parse(JSON.parse(data));
    }
  }
}

function summaryOf(
  { usage, isthmus }: Chunk,
  times: { readonly startMs: number; readonly firstMs: number; readonly endMs: number },
): string {
  const parts: string[] = [];
  if (isthmus?.edge) {
    parts.push(`${isthmus.version ?? ""} on ${isthmus.edge} (${isthmus.region || "?"})`.trim());
  }
  parts.push(`TTFT ${(times.firstMs - times.startMs).toFixed(0)} ms`);
  const tokens = usage?.completion_tokens ?? 0;
  const decodeMs = times.endMs - times.firstMs;
  // The first token belongs to TTFT.
  if (tokens > 1 && decodeMs > 0) {
    parts.push(`${tokens} tokens, ${((1000 * (tokens - 1)) / decodeMs).toFixed(0)} tok/s`);
  }
  const moves = isthmus?.moves?.length ?? 0;
  if (moves > 0) parts.push(`moved ${moves} time${moves === 1 ? "" : "s"}`);
  return parts.join(", ");
}
