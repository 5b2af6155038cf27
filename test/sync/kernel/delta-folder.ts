// Delta files of every codec in a folder that goes away with its test.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import type { DeltaContribution } from "../../../sync/aggregate/delta-sum.ts";
import { encodeDelta } from "../../../sync/delta/codec/delta-encoder.ts";
import type { CodecFormat } from "../../../sync/delta/codec/delta-format.ts";
import type { TensorMap } from "../../../sync/delta/tensor-map.ts";

export async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "isthmus-kernel-"));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

export interface Member {
  readonly name: string;
  readonly weight: number;
  readonly format: CodecFormat;
  readonly tensors: TensorMap;
}

/** Writes each member's delta in its format. */
export async function writeMembers(
  dir: string,
  members: readonly Member[],
): Promise<DeltaContribution[]> {
  return await Promise.all(
    members.map(async ({ name, weight, format, tensors }, i) => {
      const path = join(dir, `${i}.safetensors`);
      await writeFile(path, encodeDelta(tensors, format));
      return { name, weight, path };
    }),
  );
}
