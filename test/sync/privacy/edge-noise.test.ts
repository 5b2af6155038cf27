// Noise at the edge, and what a delta weighs under noise.

import { create } from "@bufbuild/protobuf";
import test from "ava";
import { NoisePlanSchema } from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { seededBytes } from "../../../runtime/random.ts";
import type { TensorMap } from "../../../sync/delta/tensor-map.ts";
import { deltaWeight } from "../../../sync/privacy/delta-weight.ts";
import { edgeNoised } from "../../../sync/privacy/edge-noise.ts";

const count = 50_000;
const long: TensorMap = new Map([["w", { shape: [count], data: new Float32Array(count).fill(1) }]]);
const random = () => seededBytes(Buffer.alloc(32, 9));
const plan = (atEdge: boolean, clip = 2) => {
  return { noise: create(NoisePlanSchema, { clip, multiplier: 0.5, atEdge }) };
};

test("an edge clips its delta and then adds noise of z·C", (t) => {
  const { data } = edgeNoised(plan(true), long, random())!.get("w")!;
  const mean = data.reduce((sum, value) => sum + value, 0) / count;
  const deviation = Math.sqrt(data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / count);
  t.true(Math.abs(mean - 2 / Math.sqrt(count)) < 5 / Math.sqrt(count), `mean ${mean}`);
  t.true(Math.abs(deviation - 1) < 0.02, `deviation ${deviation}`);
});

test("noise comes from the CSPRNG unless a test says otherwise: no two are alike", (t) => {
  const [one, two] = [edgeNoised(plan(true), long), edgeNoised(plan(true), long)];
  t.notDeepEqual(one!.get("w")!.data, two!.get("w")!.data);
});

test("without a plan for the edge nothing is added", (t) => {
  t.is(edgeNoised({}, long), null);
  t.is(edgeNoised(plan(false), long), null);
  t.is(edgeNoised(plan(true, 0), long), null);
});

test("edges weigh alike under central noise, and by their examples otherwise", (t) => {
  t.is(deltaWeight(plan(false), { examples: 60 }), 1);
  t.is(deltaWeight(plan(true), { examples: 60 }), 60);
  t.is(deltaWeight({}, { examples: 60 }), 60);
});
