// What a region tells over HTTP about itself and its routing.
import { toJson } from "@bufbuild/protobuf";
import { Hono } from "hono";
import { Fault } from "../../proto/fault.ts";
import { type RegionSummary, RegionSummarySchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { modelPattern } from "../../proto/ids.ts";
import { type ExplanationInputs, explain } from "./explanation.ts";

const PROMPT_TOKENS_DEFAULT = 64;
const PROMPT_TOKENS_MAX = 1 << 20;

export interface RegionRoutesOptions {
  readonly summary: () => RegionSummary;
  readonly inputs: ExplanationInputs;
}

/** GET /v1/region; GET /v1/routes/explain?model=M[&prompt_tokens=N][&version=V]. */
export function regionRoutes({ summary, inputs }: RegionRoutesOptions): Hono {
  const app = new Hono();
  app.get("/v1/region", (c) => c.json(toJson(RegionSummarySchema, summary())));
  app.get("/v1/routes/explain", (c) => {
    const model = c.req.query("model") ?? "";
    if (!modelPattern.test(model)) {
      throw new Fault("invalid-argument", "say which model: ?model=M", { param: "model" });
    }
    const promptTokens = Number(c.req.query("prompt_tokens") ?? PROMPT_TOKENS_DEFAULT);
    if (!Number.isInteger(promptTokens) || promptTokens < 0 || promptTokens > PROMPT_TOKENS_MAX) {
      const what = `prompt_tokens must be a whole number up to ${PROMPT_TOKENS_MAX}`;
      throw new Fault("invalid-argument", what, { param: "prompt_tokens" });
    }
    const version = c.req.query("version") ?? "";
    return c.json(explain(inputs, { model, version, preferredVersion: "", promptTokens }));
  });
  return app;
}
