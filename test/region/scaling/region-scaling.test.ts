// What the gateways of one region say of how many edges a model should have: each for all of it.
import { create, toBinary } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import { asFault } from "../../../proto/fault.ts";
import {
  DesiredStateSchema,
  HeartbeatSchema,
  ModelStatus,
} from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { edgeId, regionId } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { EdgeRegistry } from "../../../region/membership/edge-registry.ts";
import { RegionScaling } from "../../../region/scaling/region-scaling.ts";
import { scalingRoutes } from "../../../region/scaling/scaling-routes.ts";
import { scalingSchema } from "../../../region/scaling/scaling-rules.ts";
import { silentLog } from "../../../runtime/log.ts";
import { createMetrics } from "../../../runtime/metrics.ts";
import type { ReceivedHandler } from "../../../runtime/nats/nats-link.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { type FakeTrunk, fakeTrunk } from "../fake-trunk.ts";
import { heartbeatOf, modelState } from "../heartbeat-maker.ts";

const region = regionId("us");
const desired = create(DesiredStateSchema, { revision: 1n, models: [{ model: "m" }] });
const config = scalingSchema.parse({ everyModel: { replicasMin: 0 } });

/** Gateways that hear each other and the same edges. */
class Scene {
  readonly clock = new ManualClock();
  readonly #handlers: ReceivedHandler[] = [];
  readonly #edges: EdgeRegistry[] = [];
  readonly #trunks: FakeTrunk[] = [];
  #sequence = 0;
  isUp = true;

  gateway(t: ExecutionContext, instance: string) {
    const { clock } = this;
    const log = silentLog();
    const openTrunk = (address: string) => {
      const trunk = fakeTrunk(address);
      this.#trunks.push(trunk);
      return trunk;
    };
    const edges = new EdgeRegistry({ region, clock, log, openTrunk });
    this.#edges.push(edges);
    const isUp = () => this.isUp;
    const nats = {
      get state() {
        return isUp() ? ("up" as const) : ("down" as const);
      },
      publish: (subject: string, body: Uint8Array) => {
        for (const handle of this.#handlers) void handle({ subject, body, respond: undefined });
        return true;
      },
      subscribe: (_: string, handle: ReceivedHandler) => {
        this.#handlers.push(handle);
        return { stop: () => {} };
      },
    };
    const metrics = createMetrics({});
    const scaling = new RegionScaling({
      ...{ region, instance, config, edges, nats, clock, log, metrics },
    });
    t.teardown(() => scaling.stop());
    scaling.start(() => desired);
    const app = scalingRoutes("us", scaling);
    app.onError((thrown) => {
      const { kind, message } = asFault(thrown);
      return Response.json({ message }, { status: kind.http });
    });
    const ask = async (path: string) => {
      const answer = await app.request(path);
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
    };
    return { scaling, metrics, ask };
  }

  /** All gateways hear these edges for so many seconds. */
  beat(seconds: number, edges: Readonly<Record<string, Parameters<typeof modelState>[0]>> = {}) {
    for (let at = 0; at < seconds; at += 1) {
      this.#sequence += 1;
      for (const [edge, init] of Object.entries(edges)) {
        const heartbeat = heartbeatOf(edge, this.#sequence, { models: [modelState(init)] });
        const body = toBinary(HeartbeatSchema, heartbeat);
        const subject = subjects.heartbeat(region, edgeId(edge));
        for (const registry of this.#edges) registry.takeHeartbeat(subject, body);
      }
      for (const trunk of this.#trunks) if (trunk.state !== "up") trunk.become("up");
      this.clock.advance(1000);
    }
  }

  waiting(scaling: RegionScaling): Promise<unknown> {
    const request = {
      model: "m",
      priority: "interactive",
      bytes: 1,
      deadlineMs: Number.POSITIVE_INFINITY,
      mayWait: true,
      signal: new AbortController().signal,
      isCold: () => true,
      canGo: () => false,
    } as const;
    const cold = () => Promise.reject(new Error("cold"));
    return scaling.cold.pass("m", () => request, cold).catch(() => {});
  }
}

test("a gateway says nothing before it has heard its edges, nor with its NATS away", async (t) => {
  const scene = new Scene();
  const { ask } = scene.gateway(t, "a");
  scene.beat(3, { "us-1": {}, "us-2": {} });
  t.is((await ask("/v1/scaling/m")).status, 503);
  scene.beat(5, { "us-1": {}, "us-2": {} });
  t.like(await ask("/v1/scaling/m"), {
    status: 200,
    body: { region: "us", model: "m", replicas: 2, edges: { ready: 2, stored: 0, starting: 0 } },
  });
  t.like(await ask("/v1/scaling"), { status: 200, body: { replicas: 2 } });
  t.is((await ask("/v1/scaling/unheard-of")).status, 404);
  scene.isUp = false;
  t.is((await ask("/v1/scaling/m")).status, 503);
});

test("a request that waits at one gateway wakes the model at all of them", async (t) => {
  const scene = new Scene();
  const a = scene.gateway(t, "a");
  const b = scene.gateway(t, "b");
  scene.beat(8);
  t.like(await a.ask("/v1/scaling/m"), { body: { replicas: 0 } });
  const waits = scene.waiting(a.scaling);
  await new Promise((resolve) => setImmediate(resolve));
  scene.beat(2);
  t.like(await a.ask("/v1/scaling/m"), { body: { replicas: 1, requests: { held: 1 } } });
  t.like(await b.ask("/v1/scaling/m"), { body: { replicas: 1, requests: { held: 1 } } });
  const [atA, atB] = await Promise.all([a.metrics.text(), b.metrics.text()]);
  t.regex(atA, /isthmus_waiting_requests\{model="m"\} 1\n/);
  t.regex(atB, /isthmus_waiting_requests\{model="m"\} 0\n/);
  t.regex(atB, /isthmus_desired_replicas\{model="m"\} 1\n/);
  t.regex(atA, /isthmus_predicted_ttft_seconds\{model="m"\} \d/);
  t.regex(atA, /isthmus_queue_wait_seconds\{model="m"\} \d/);
  a.scaling.stop();
  await waits;
});

test("an edge that loads the model is on its way, one that failed is not", async (t) => {
  const scene = new Scene();
  const { ask } = scene.gateway(t, "a");
  const { LOADING, FAILED } = ModelStatus;
  scene.beat(8, { "us-1": { status: LOADING }, "us-2": { status: FAILED }, "us-3": {} });
  t.like((await ask("/v1/scaling/m")).body, { edges: { ready: 1, stored: 0, starting: 1 } });
});
