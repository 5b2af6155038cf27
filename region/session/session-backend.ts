// Gives chats of a session their context before they are served, and keeps what came of them. What
// names no session, or carries its own context (a text, token ids), passes through; so does what
// this region may not keep, on its way to one that may.
import { create, toBinary } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import {
  ChatMessageSchema,
  type ChatPrompt,
  type GenerateRequest,
  GenerateRequestSchema,
  type GenerateResponse,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { SessionSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RegionId } from "../../proto/ids.ts";
import type { CallContext, InferenceBackend, OnEvent } from "../../runtime/inference/backend.ts";
import { type PolicyBook, policyFor } from "../../runtime/policy/policy-defaults.ts";
import { residencyRefusal } from "../../runtime/policy/residency.ts";
import { turnMessages } from "./conversation.ts";
import type { FinishedTurn, LoadedSession, SessionKeeper } from "./session-keeper.ts";
import { narrowedPolicy } from "./session-policy.ts";
import { ANSWER_BYTES_MIN, SESSION_BYTES_MAX, sessionKey } from "./session-rules.ts";

export interface SessionBackendOptions {
  readonly region: RegionId;
  readonly jurisdictions: readonly string[];
  readonly backend: InferenceBackend;
  readonly keeper: SessionKeeper;
  /** What the operator has set; it holds for what is kept as it does for what is served. */
  readonly policies?: PolicyBook | undefined;
  readonly onTurn: (outcome: "kept" | "failed") => void;
}

/** A turn under way. */
interface RunningTurn {
  readonly abort: AbortController;
  readonly ended: Promise<unknown>;
}

export function sessionBackend(options: SessionBackendOptions): InferenceBackend {
  const { backend, policies } = options;
  const running = new Map<string, RunningTurn>();
  return {
    async generate(asked, context, onEvent) {
      const { prompt, sessionId, tenant } = asked;
      if (sessionId === "" || prompt.case !== "chat") {
        return backend.generate(asked, context, onEvent);
      }
      const request = policies === undefined ? asked : ruled(asked, policies);
      if (!mayKeep(options, request.policy)) return backend.generate(request, context, onEvent);
      const key = sessionKey({ id: sessionId, tenant });
      return oneAtATime(running, key, request, context, (signal) =>
        takeTurn(options, request, prompt.value, { ...context, signal }, onEvent),
      );
    },
    embed: (request, context) => backend.embed(request, context),
    score: (request, context) => backend.score(request, context),
    listModels: () => backend.listModels(),
  };
}

function ruled(request: GenerateRequest, policies: PolicyBook): GenerateRequest {
  return create(GenerateRequestSchema, { ...request, policy: policyFor(request, policies) });
}

function mayKeep(
  { region, jurisdictions }: SessionBackendOptions,
  policy: GenerateRequest["policy"],
): boolean {
  return residencyRefusal(policy, region, jurisdictions) === null;
}

/**
 * A conversation has one next turn. Another one that comes meanwhile is refused; but a turn that is
 * resumed takes the place of the one it resumes, whose caller is gone.
 */
async function oneAtATime(
  running: Map<string, RunningTurn>,
  key: string,
  request: GenerateRequest,
  context: CallContext,
  take: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const before = running.get(key);
  if (before !== undefined) {
    if (request.resume === undefined) {
      const why = "a turn of this session is under way: wait for its end";
      throw new Fault("conflict", why, { param: "session_id" });
    }
    before.abort.abort();
  }
  const abort = new AbortController();
  const work = async () => {
    await before?.ended;
    await take(AbortSignal.any([context.signal, abort.signal]));
  };
  const done = work();
  const turn: RunningTurn = { abort, ended: done.catch(() => {}) };
  running.set(key, turn);
  try {
    await done;
  } finally {
    if (running.get(key) === turn) running.delete(key);
  }
}

async function takeTurn(
  options: SessionBackendOptions,
  request: GenerateRequest,
  chat: ChatPrompt,
  context: CallContext,
  onEvent: OnEvent,
): Promise<void> {
  const { backend, keeper, onTurn } = options;
  const name = { id: request.sessionId, tenant: request.tenant };
  const loaded = await keeper.load(name, request.policy);
  const { session } = loaded;
  // What was deleted begins anew, under new rules, unless it was only taken from this region.
  const isAnew = session === null || (session.deleted && mayKeep(options, session.policy));
  const policy = isAnew ? request.policy : narrowedPolicy(session.policy, request.policy);
  if (!mayKeep(options, policy)) {
    const onward = create(GenerateRequestSchema, { ...request, ...(policy && { policy }) });
    return backend.generate(onward, context, onEvent);
  }
  const asked = messagesOf(loaded, request, chat);
  requireRoom(asked);
  const prompt = { case: "chat" as const, value: { ...chat, messages: [...asked] } };
  const whole = create(GenerateRequestSchema, { ...request, prompt, ...(policy && { policy }) });
  const listener = gather(request.resume?.text ?? "", onEvent);
  try {
    await backend.generate(whole, context, listener.onEvent);
    const answer = create(ChatMessageSchema, { role: "assistant", content: listener.text });
    const turn: FinishedTurn = { ...name, policy, loaded, asked, answer };
    await keeper.keep(turn);
    onTurn("kept");
  } catch (thrown) {
    onTurn("failed");
    throw thrown;
  }
  listener.finish();
}

function messagesOf({ session }: LoadedSession, { resume }: GenerateRequest, chat: ChatPrompt) {
  if (resume !== undefined && resume.text.length !== resume.textLength) {
    const why = "a turn of a session is resumed with the text that was delivered";
    throw new Fault("invalid-argument", why, { param: "resume.text" });
  }
  return turnMessages(session?.messages ?? [], chat.messages, resume?.text ?? null);
}

function requireRoom(asked: FinishedTurn["asked"]): void {
  const bytes = toBinary(SessionSchema, create(SessionSchema, { messages: [...asked] })).byteLength;
  if (bytes <= SESSION_BYTES_MAX - ANSWER_BYTES_MIN) return;
  const why = `the session holds ${bytes} of at most ${SESSION_BYTES_MAX} bytes: begin a new one`;
  throw new Fault("payload-too-large", why, { param: "session_id" });
}

/** Passes events on and gathers the text; the last event waits until the turn is kept. */
function gather(resumedText: string, onEvent: OnEvent) {
  let text = resumedText;
  let last: GenerateResponse | null = null;
  return {
    get text() {
      return text;
    },
    onEvent(response: GenerateResponse) {
      const { event } = response;
      if (event.case === "tokens") text += event.value.text;
      if (event.case !== "finished") {
        onEvent(response);
        return;
      }
      text += event.value.text;
      last = response;
    },
    finish() {
      if (last !== null) onEvent(last);
    },
  };
}
