// The sessions of a region over real NATS, with a model that says which turn it is; the test says
// which other regions are in reach.
import { create, toBinary } from "@bufbuild/protobuf";
import {
  type GenerateRequest,
  GenerateRequestSchema,
  PolicySchema,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { type Session, SessionSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { regionId } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import type { SessionPeer } from "../../../region/session/session-exchange.ts";
import { sessionKey } from "../../../region/session/session-rules.ts";
import { SessionStore } from "../../../region/session/session-store.ts";
import {
  createSessions,
  type Sessions,
  type SessionsOptions,
} from "../../../region/session/sessions.ts";
import { systemClock } from "../../../runtime/clock.ts";
import type { CallContext } from "../../../runtime/inference/backend.ts";
import { silentLog } from "../../../runtime/log.ts";
import { createMetrics } from "../../../runtime/metrics.ts";
import { connectNats, type NatsLink } from "../../../runtime/nats/connection.ts";
import { eventually } from "../../support/eventually.ts";
import type { NatsTopology } from "../../support/nats-topology.ts";
import {
  createScriptedBackend,
  type ScriptedBackend,
  scriptedModel,
} from "../../support/scripted-backend.ts";

export const jurisdictions: Readonly<Record<string, string[]>> = {
  us: ["us"],
  eu: ["gdpr", "eu"],
  ap: ["ap"],
};

export interface SessionRegion {
  readonly name: string;
  readonly nats: NatsLink;
  readonly backend: ScriptedBackend;
  readonly sessions: Sessions;
  readonly peers: Map<string, SessionPeer>;
  /**
   * Lets so much time pass for it that who is in reach has been so for long. Resolves with whether
   * it answers by itself now, without asking anybody.
   */
  settle(): Promise<boolean>;
  /** What its own store holds, without asking anybody. */
  stored(id: string): Promise<string[] | null>;
  /** Values of a counter by its one label. */
  count(metric: string): Promise<Record<string, number>>;
  stop(): Promise<void>;
}

let incarnations = 0n;

/** With `others` in reach from the start. */
export async function startSessionRegion(
  topology: NatsTopology,
  name: string,
  others: readonly string[],
): Promise<SessionRegion> {
  const nats = await connectNats({ servers: topology.urls(name), name: `sessions ${name}` });
  const backend = createScriptedBackend();
  backend.reply = (request) => [`answer ${messagesOf(request).length}`];
  const metrics = createMetrics({});
  let passedMs = 0;
  let questions = 0;
  const counted: SessionsOptions["nats"] = {
    kv: (...of) => nats.kv(...of),
    subscribe: (...to) => nats.subscribe(...to),
    request(subject, body, timeoutMs) {
      if (subject.endsWith(".get")) questions += 1;
      return nats.request(subject, body, timeoutMs);
    },
  };
  const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + passedMs };
  const store = new SessionStore({ nats, domain: name, clock });
  const peers = new Map(others.map((region) => [region, peerOf(region)] as const));
  const sessions = createSessions({
    ...{ region: regionId(name), domain: name, jurisdictions: jurisdictions[name] ?? [] },
    ...{ nats: counted, backend, clock, log: silentLog(), metrics },
    peers: () => peers.values(),
  });
  return {
    ...{ name, nats, backend, sessions, peers },
    async settle() {
      passedMs += 60_000;
      const before = questions;
      await sessions.routes.request("/v1/sessions/nobody");
      return questions === before;
    },
    async stored(id) {
      const found = await store.get(sessionKey({ id, tenant: "" }));
      return found?.session.messages.map(({ content }) => content) ?? null;
    },
    async count(metric) {
      const lines = (await metrics.text()).split("\n").filter((line) => line.startsWith(metric));
      return Object.fromEntries(
        lines.map((line) => [/="([^"]*)"/.exec(line)?.[1] ?? "", Number(line.split(" ").at(-1))]),
      );
    },
    async stop() {
      sessions.stop();
      await nats.close();
    },
  };
}

export function peerOf(region: string, init: Partial<SessionPeer> = {}): SessionPeer {
  incarnations += 1n;
  return {
    ...{ region, jurisdictions: jurisdictions[region] ?? [], incarnation: incarnations },
    connected: true,
    ...init,
  };
}

/** Returns once each region answers each other one's questions. */
export async function acquainted(regions: readonly SessionRegion[]): Promise<void> {
  const body = toBinary(
    SessionSchema,
    create(SessionSchema, { id: "nobody", region: "us", revision: 1n }),
  );
  for (const from of regions) {
    for (const to of regions) {
      const subject = subjects.sessionGet(regionId(to.name));
      await eventually(`${from.name} reaches ${to.name}`, async () => {
        await from.nats.request(subject, body, 500);
        return true;
      });
    }
  }
}

export interface TurnFields {
  readonly id: string;
  readonly tenant?: string;
  readonly policy?: { readonly regions?: string[]; readonly jurisdictions?: string[] };
  readonly resumed?: string;
}

export function turnRequest({ id, tenant, policy, resumed }: TurnFields, ...sent: string[]) {
  return create(GenerateRequestSchema, {
    model: scriptedModel,
    prompt: {
      case: "chat",
      value: { messages: sent.map((content) => ({ role: "user", content })) },
    },
    sessionId: id,
    tenant: tenant ?? "",
    ...(policy && { policy: create(PolicySchema, policy) }),
    ...(resumed !== undefined && {
      resume: { ids: [0], textLength: resumed.length, text: resumed },
    }),
  });
}

export function context(signal = new AbortController().signal): CallContext {
  return { signal, requestId: "r", visitedRegions: [], deadlineMs: Infinity };
}

/** Takes one turn; resolves with the answer once it is finished. */
export async function take(
  region: SessionRegion,
  fields: TurnFields,
  ...sent: string[]
): Promise<string> {
  let text = "";
  let finished = 0;
  await region.sessions.backend.generate(turnRequest(fields, ...sent), context(), ({ event }) => {
    if (event.case === "tokens") text += event.value.text;
    if (event.case === "finished") finished += 1;
  });
  if (finished !== 1) throw new Error(`finished ${finished} times`);
  return text;
}

/** What the model was asked last. */
export function lastAsked({ backend }: SessionRegion): string[] {
  const request = backend.requests.at(-1);
  return request === undefined ? [] : messagesOf(request);
}

export interface KeptBody extends Pick<Session, "region" | "tenant"> {
  readonly revision: number;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
}

/** What the region keeps of a session, by its HTTP route; null when it keeps nothing. */
export async function kept(
  region: SessionRegion,
  id: string,
  headers: Record<string, string> = {},
): Promise<KeptBody | null> {
  const response = await region.sessions.routes.request(`/v1/sessions/${id}`, { headers });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return (await response.json()) as KeptBody;
}

export async function saidIn(region: SessionRegion, id: string): Promise<string[] | null> {
  return (await kept(region, id))?.messages.map(({ content }) => content) ?? null;
}

function messagesOf({ prompt }: GenerateRequest): string[] {
  return prompt.case === "chat" ? prompt.value.messages.map(({ content }) => content) : [];
}
