// A route table with ready edges, for tests that care about a few figures of each.
import { create } from "@bufbuild/protobuf";
import {
  EdgeLabelsSchema,
  type GpuState,
  GpuStateSchema,
} from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Assessment, Rejection } from "../../../region/route/decision.ts";
import { plainRequest, type RouteRequest } from "../../../region/route/route-request.ts";
import { type RouteLabels, RouteTable } from "../../../region/route/route-table.ts";
import {
  type HeartbeatFields,
  heartbeatOf,
  type ModelFields,
  modelState,
} from "../heartbeat-maker.ts";

export interface EdgeFields {
  readonly model?: ModelFields;
  readonly heartbeat?: HeartbeatFields;
  readonly rttMs?: number;
}

export function gpu(vramFreeBytes = 8n << 30n): GpuState {
  const vramTotalBytes = 16n << 30n;
  return create(GpuStateSchema, { name: "gpu", vramTotalBytes, vramFreeBytes });
}

export function labels(init: { watts?: number; costPerHour?: number; preemptible?: boolean }) {
  return { labels: create(EdgeLabelsSchema, init) };
}

/** Time stands where the test puts it. */
export class RoutingFixture {
  readonly table: RouteTable;
  nowMs = 0;
  #sequence = 0;

  constructor(edges: Readonly<Record<string, EdgeFields>> = {}, labels?: RouteLabels) {
    const bounds = { prefixBlocksMax: 1024, sessionsMax: 1024 };
    this.table = new RouteTable({ region: "us", ...bounds, ...(labels && { labels }) });
    for (const [edge, fields] of Object.entries(edges)) this.add(edge, fields);
  }

  add(edge: string, fields: EdgeFields = {}): void {
    this.beat(edge, fields);
    this.table.setRtt(edge, fields.rttMs ?? 1);
    this.table.setStatus(edge, "ready", "");
  }

  beat(edge: string, { model, heartbeat }: EdgeFields = {}): void {
    this.#sequence += 1;
    const models = model === undefined ? {} : { models: [modelState(model)] };
    const told = heartbeatOf(edge, this.#sequence, { ...models, ...heartbeat });
    this.table.beat(edge, told, this.nowMs);
  }

  chosen(init: Partial<RouteRequest> = {}, random = 0, excluded?: ReadonlySet<string>) {
    const request = { ...plainRequest("m", 100), ...init };
    return this.table.decide(request, this.nowMs, () => random, excluded).chosen;
  }

  send(edge: string, init: Partial<RouteRequest> = {}) {
    const request = { ...plainRequest("m", 100), ...init };
    return this.table.dispatched(edge, "m", request, this.nowMs);
  }

  /** Sends a request that fails at once. */
  fail(edge: string): void {
    this.send(edge).ended(this.nowMs, { kind: "fault", code: "engine-crashed" });
  }

  /** Sends a request that is answered `ttftMs` later. */
  answer(edge: string, ttftMs: number): void {
    const handle = this.send(edge);
    this.nowMs += ttftMs;
    handle.ended(this.nowMs, { kind: "finished", ttftMs, tokens: 10, tpotMs: 10 });
  }

  assessment(edge: string, init: Partial<RouteRequest> = {}): Assessment {
    const request = { ...plainRequest("m", 100), ...init };
    const all = this.table.explain(request, this.nowMs);
    const edgeOf = (one: Assessment) => (one.kind === "candidate" ? one.prediction : one).edge;
    const found = all.find((one) => edgeOf(one) === edge);
    if (found === undefined) throw new Error(`nothing is said of ${edge}`);
    return found;
  }

  terms(edge: string, init: Partial<RouteRequest> = {}) {
    const assessment = this.assessment(edge, init);
    if (assessment.kind === "rejected") throw new Error(`${edge}: ${assessment.reason}`);
    return assessment.prediction.terms;
  }

  rejection(edge: string, init: Partial<RouteRequest> = {}): Rejection | null {
    const assessment = this.assessment(edge, init);
    return assessment.kind === "rejected" ? assessment.rejection : null;
  }
}
