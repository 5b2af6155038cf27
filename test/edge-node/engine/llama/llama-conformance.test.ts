// The llama engine against the suite that every engine passes.
import test from "ava";
import {
  createLlamaEngine,
  type LlamaEngine,
} from "../../../../edge-node/engine/llama/llama-engine.ts";
import { engineConformance } from "../../../conformance/engine.ts";
import { decodeIds } from "../../../models/byte-vocabulary.ts";
import { randomModel } from "../../../models/tiny-model.ts";

let engine: LlamaEngine;

test.before(async () => {
  const modelPath = await randomModel({ alphabet: "bytes" });
  engine = await createLlamaEngine({ modelPath, slots: 4, contextSize: 512, threads: 1 });
});

test.after.always(async () => {
  await engine?.close();
});

engineConformance(test.serial, "llama", () => ({ engine, decode: decodeIds, gapMax: 0.05 }));
