// A caller who knows nothing but a gateway's address and OpenAI's HTTP: its stream as the events
// that the other callers see. A token here is a piece of text; the edge is told at the end.
import { create } from "@bufbuild/protobuf";
import { Fault, isFaultCode } from "../../proto/fault.ts";
import {
  type GenerateRequest,
  type GenerateResponse,
  GenerateResponseSchema,
  StartedSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { type OpenDoor, REQUEST_MAX_MS } from "./callers.ts";

const RETRY_AFTER_MS = 1000;
const DATA = "data: ";
const DONE = "[DONE]";

interface Chunk {
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string };
    readonly finish_reason?: string | null;
  }[];
  readonly error?: { readonly message?: string; readonly code?: string };
  readonly isthmus?: {
    readonly edge: string;
    readonly region: string;
    readonly version: string;
    readonly moves: readonly {
      readonly at_token: number;
      readonly from_edge: string;
      readonly to_edge: string;
      readonly cause: string;
    }[];
  };
}

/** Requires: questions that are chats. */
export function openAiDoor(name: string, http: string): OpenDoor {
  return {
    door: { kind: "gateway", name },
    open: ({ request }) => streamOf(http, request),
    [Symbol.dispose]: () => {},
  };
}

async function* streamOf(http: string, request: GenerateRequest): AsyncIterable<GenerateResponse> {
  const started = create(StartedSchema);
  let isBegun = false;
  let pieces = 0;
  for await (const chunk of chunksOf(http, request)) {
    if (!isBegun) yield event({ case: "started", value: started });
    isBegun = true;
    if (chunk.error !== undefined) throw spoken(chunk.error, "interrupted");
    const [choice] = chunk.choices ?? [];
    const text = choice?.delta?.content ?? "";
    if (text !== "") {
      yield event({ case: "tokens", value: { index: pieces, ids: [pieces], text } });
      pieces += 1;
    }
    if (chunk.isthmus === undefined) continue;
    const { edge, region, version, moves } = chunk.isthmus;
    Object.assign(started, { edge, region, version });
    const told = moves.map(({ at_token, from_edge, to_edge, cause }) => ({
      ...{ atToken: Math.min(at_token, pieces), fromEdge: from_edge, toEdge: to_edge, cause },
    }));
    yield event({ case: "finished", value: { completionTokens: pieces, moves: told } });
  }
}

/** Ends after [DONE] alone. Faults: the mesh's own, `link-lost` when the connection breaks. */
async function* chunksOf(http: string, request: GenerateRequest): AsyncIterable<Chunk> {
  let rest = "";
  try {
    const response = await fetch(`${http}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(bodyOf(request)),
      signal: AbortSignal.timeout(REQUEST_MAX_MS),
    });
    if (!response.ok) throw await refusal(response);
    const decoder = new TextDecoder();
    for await (const bytes of response.body ?? []) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (!line.startsWith(DATA)) continue;
        const data = line.slice(DATA.length);
        if (data === DONE) return;
        yield JSON.parse(data) as Chunk;
      }
    }
  } catch (thrown) {
    if (thrown instanceof Fault) throw thrown;
    throw new Fault("link-lost", `the connection broke: ${reasonOf(thrown)}`, { cause: thrown });
  }
  throw new Fault("link-lost", "the connection ended before [DONE]", { stage: "interrupted" });
}

function bodyOf({ model, prompt, maxTokens, constraint }: GenerateRequest): object {
  const messages = prompt.case === "chat" ? prompt.value.messages : [];
  const schema = constraint?.kind.case === "jsonSchema" ? constraint.kind.value : undefined;
  const format = schema && { name: "answer", strict: true, schema: JSON.parse(schema) as object };
  return {
    ...{ model, stream: true, temperature: 0, max_tokens: maxTokens },
    messages: messages.map(({ role, content }) => ({ role, content })),
    ...(format && { response_format: { type: "json_schema", json_schema: format } }),
  };
}

async function refusal(response: Response): Promise<Fault> {
  const text = await response.text();
  const isPassing = [429, 502, 503].includes(response.status);
  const why = `HTTP ${response.status}: ${text.slice(0, 300)}`;
  const retryAfterMs = isPassing ? RETRY_AFTER_MS : 0;
  return new Fault(isPassing ? "unavailable" : "internal", why, { retryAfterMs });
}

function spoken({ message = "", code = "" }: NonNullable<Chunk["error"]>, stage: "interrupted") {
  const known = code.replaceAll("_", "-");
  return new Fault(isFaultCode(known) ? known : "internal", message, { stage });
}

function event(value: GenerateResponse["event"] | object): GenerateResponse {
  return create(GenerateResponseSchema, { event: value as GenerateResponse["event"] });
}

function reasonOf(thrown: unknown): string {
  const { message, cause } = thrown as Error;
  return cause instanceof Error ? `${message} (${cause.message})` : message;
}
