// A coordinator process with real NATS, regions that only pretend to have edges, and one published
// model: what tests of the operator's side begin with.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { ggufString } from "../../sync/formats/gguf-metadata.ts";
import { writeGguf } from "../../sync/formats/gguf-writer.ts";
import { TensorType } from "../../sync/formats/tensor-type.ts";
import { eventually } from "../support/eventually.ts";
import { NatsTopology } from "../support/nats-topology.ts";
import { CoordinatorProcess } from "./coordinator-process.ts";
import { FakeRegion, type FakeRegionSetup } from "./fake-region.ts";

export interface DemoMesh {
  readonly dir: string;
  readonly nats: NatsTopology;
  readonly regions: readonly FakeRegion[];
  /** The present process. */
  readonly coordinator: CoordinatorProcess;
  /** Starts the coordinator again on its folder, once it has been killed. */
  restart(): Promise<void>;
}

export interface DemoMeshSetup {
  readonly evaluate: FakeRegionSetup["evaluate"];
  /** Regions that the coordinator knows of. */
  readonly regions?: readonly string[];
  /** Those of them that are there. */
  readonly present?: readonly string[];
}

const EDGES_EACH = 2;

interface EdgeModels {
  readonly models: readonly { readonly version: string }[];
}

/** Starts it, with `demo@1` served by every edge; ends with the test. */
export async function startDemoMesh(t: ExecutionContext, setup: DemoMeshSetup): Promise<DemoMesh> {
  const names = setup.regions ?? ["us", "eu"];
  const nats = await NatsTopology.start(names);
  t.teardown(() => nats.stop());
  const dir = mkdtempSync(join(tmpdir(), "isthmus-coordinator-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const process = { dir, nats: nats.urls("central"), regions: names };
  let coordinator = await CoordinatorProcess.start(process);
  t.teardown(() => coordinator.kill());
  const regions: FakeRegion[] = [];
  for (const region of setup.present ?? names) {
    const edges = Array.from({ length: EDGES_EACH }, (_, n) => `${region}-${n + 1}`);
    const { evaluate } = setup;
    regions.push(await FakeRegion.start({ region, nats: nats.urls(region), edges, evaluate }));
  }
  t.teardown(() => Promise.all(regions.map((region) => region.stop())));
  await publishDemo(coordinator, dir);
  await eventually("the coordinator sees that every edge serves the first version", async () => {
    const { edges } = await coordinator.get<{ edges: readonly EdgeModels[] }>("/v1/edges");
    const ready = edges.filter(({ models }) => models[0]?.version === "demo@1");
    return ready.length === regions.length * EDGES_EACH;
  });
  return {
    dir,
    nats,
    regions,
    get coordinator() {
      return coordinator;
    },
    restart: async () => {
      coordinator = await CoordinatorProcess.start(process);
    },
  };
}

async function publishDemo(coordinator: CoordinatorProcess, dir: string): Promise<void> {
  const gguf = join(dir, "base.gguf");
  const weight = { name: "blk.0.attn_q.weight", dimensions: [4, 4], type: TensorType.f32 };
  const metadata = new Map([["general.architecture", ggufString("llama")]]);
  writeGguf(gguf, metadata, [{ ...weight, data: new Float32Array(16) }]);
  const base = await coordinator.upload(readFileSync(gguf), "base.gguf");
  const heldout = await coordinator.upload(Buffer.from("{}\n"), "demo-home-heldout.jsonl");
  const { status, body } = await coordinator.post("/v1/models", { model: "demo", base, heldout });
  if (status !== 201) throw new Error(JSON.stringify(body));
}
