// What an edge must not serve itself goes to its region, and nowhere else.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import test from "ava";
import {
  EscalatingBackend,
  type RegionTrunk,
} from "../../../edge-node/escalation/escalating-backend.ts";
import { onlyElsewhere } from "../../../edge-node/escalation/placement-rules.ts";
import { Fault } from "../../../proto/fault.ts";
import {
  EmbedRequestSchema,
  type GenerateRequestSchema,
  ScoreRequestSchema,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { systemClock } from "../../../runtime/clock.ts";
import type { InferenceBackend } from "../../../runtime/inference/backend.ts";
import { eventually } from "../../support/eventually.ts";
import { complete, context, request, serveScript } from "../serving/served-script.ts";

const place = { region: "us", jurisdictions: ["us", "hipaa"], hasGpu: () => false };
type Init = MessageInitShape<typeof GenerateRequestSchema>;

/** Requests that this edge may serve, and those that it must not, with what its refusal names. */
const allowed: Init[] = [
  {},
  { policy: {} },
  { policy: { regions: ["eu", "us"] } },
  { policy: { jurisdictions: ["gdpr", "hipaa"] } },
  { policy: { regions: ["us"], jurisdictions: ["us"], hedge: true } },
];
const ruledOut: [Init, string][] = [
  [{ policy: { regions: ["eu"] } }, "policy.regions"],
  [{ policy: { regions: ["us"], jurisdictions: ["gdpr"] } }, "policy.jurisdictions"],
  [{ policy: { gpuRequired: true } }, "policy.gpu_required"],
  [{ sessionId: "s-1" }, "session_id"],
];

function setUp(state: RegionTrunk["state"] | "none", regionFault?: Fault) {
  const here = serveScript({ reply: () => "here" });
  const there = serveScript({ reply: () => "there" });
  const seen: string[] = [];
  const trunk: RegionTrunk = {
    get state() {
      return state === "none" ? "down" : state;
    },
    generate: async (...call: Parameters<InferenceBackend["generate"]>) => {
      seen.push("generate");
      if (regionFault !== undefined) throw regionFault;
      await there.admitted.generate(...call);
    },
    embed: async (...call) => {
      seen.push("embed");
      return await there.admitted.embed(...call);
    },
    score: async (...call) => {
      seen.push("score");
      return await there.admitted.score(...call);
    },
  };
  const edge = new EscalatingBackend({
    edge: "us-1",
    region: "us",
    local: here.admitted,
    localRefusal: (model) => here.models.refusal(model),
    onlyElsewhere: (asked) => onlyElsewhere(asked, place),
    trunk: state === "none" ? undefined : trunk,
    clock: systemClock,
  });
  return { ...here, edge, seen };
}

const faultOf = async (work: Promise<unknown>): Promise<Fault> => {
  try {
    await work;
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown;
    throw thrown;
  }
  throw new Error("it was served");
};

test("what a policy allows here is served here", async (t) => {
  const { edge, seen } = setUp("up");
  for (const init of allowed) {
    t.is((await complete(edge, request({ maxTokens: 0, ...init }))).text, "here");
  }
  t.deepEqual(seen, []);
});

test("what is ruled out here, and turns of a session, go to the region", async (t) => {
  const { edge, engine } = setUp("up");
  for (const [init] of ruledOut) {
    // The other edge of this test is in the same region: it isn't asked about regions again.
    const asked = request({ maxTokens: 0, ...init });
    if (init.policy?.regions?.includes("eu")) continue;
    t.is((await complete(edge, asked)).text, "there");
  }
  t.is(engine.stats().tokensGenerated, 0);
  await eventually("nothing is relayed any more", () => edge.relayed === 0);
});

test("alone the refusal names the rule; with the region away it says that too", async (t) => {
  for (const [init, param] of ruledOut) {
    const alone = setUp("none");
    const refused = await faultOf(complete(alone.edge, request(init)));
    t.like(refused, { code: "failed-precondition", param });
    t.true(refused.message.includes(param));
    const cut = setUp("down");
    const away = await faultOf(complete(cut.edge, request(init)));
    t.like(away, { code: "unavailable" });
    t.true(away.message.includes(param) && away.retryAfterMs > 0);
    t.is(alone.engine.stats().tokensGenerated + cut.engine.stats().tokensGenerated, 0);
  }
});

test("what the region says of it is the answer, and it is never tried here", async (t) => {
  for (const code of ["failed-precondition", "overloaded", "unavailable"] as const) {
    const { edge, engine } = setUp("up", new Fault(code, "as the region says"));
    const refused = await faultOf(complete(edge, request({ sessionId: "s-1" })));
    t.like(refused, { code, message: "as the region says" });
    t.is(engine.stats().tokensGenerated, 0);
  }
});

test("embeddings and scores obey the same rules", async (t) => {
  const policy = { jurisdictions: ["gdpr"] };
  const embed = create(EmbedRequestSchema, { model: "m", inputs: ["a"], policy });
  const prompt = { case: "text" as const, value: "a" };
  const score = create(ScoreRequestSchema, { model: "m", prompt, ids: [98], policy });
  const { edge, seen } = setUp("up");
  await edge.embed(embed, context());
  await edge.score(score, context());
  t.deepEqual(seen, ["embed", "score"]);
  const alone = setUp("none");
  const param = "policy.jurisdictions";
  t.like(await faultOf(alone.edge.embed(embed, context())), { code: "failed-precondition", param });
  t.like(await faultOf(alone.edge.score(score, context())), { code: "failed-precondition", param });
});

test("what comes by trunk for other regions is refused by the engines' own door", async (t) => {
  const { engines, engine } = setUp("up");
  const asked = request({ policy: { regions: ["eu"] } });
  t.like(await faultOf(complete(engines, asked)), {
    code: "failed-precondition",
    param: "policy.regions",
  });
  t.is(engine.stats().tokensGenerated, 0);
});
