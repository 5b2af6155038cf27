// A trainer on an edge that somebody has taken over: it trains as the built-in one does, and then
// does what the file that its first argument names says. It has the edge's signing key, as whoever
// has the edge would. node poisoned-trainer.ts MODE_FILE JOB.json
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { BUILT_IN_TRAINER } from "../../edge-node/training/run-training.ts";
import { ADAPTER_FOLDER, type TrainerJob } from "../../edge-node/training/trainer-contract.ts";
import {
  DeltaCodec,
  DeltaManifestSchema,
  TrainCommandSchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { planChunks } from "../../sync/delta/chunks.ts";
import { signManifest } from "../../sync/delta/delta-manifest.ts";
import { modulesOfLayout } from "../../sync/delta/rank-slice.ts";
import { openSigningKey } from "../../sync/delta/signing-key.ts";
import { layoutOf } from "../../sync/delta/tensor-map.ts";
import { metadataNumber } from "../../sync/formats/gguf-metadata.ts";
import { readGguf } from "../../sync/formats/gguf-reader.ts";
import { adapterTensors } from "../../sync/formats/lora-adapter.ts";
import { PEFT_WEIGHTS_FILE, readPeftAdapter } from "../../sync/formats/peft-adapter.ts";
import {
  encodeSafetensors,
  readSafetensors,
  writeSafetensors,
} from "../../sync/formats/safetensors.ts";

export const attacks = ["clean", "nan", "scaled", "flipped", "stale", "replay"] as const;
export type Attack = (typeof attacks)[number];

const SCALE = 1000;

if (import.meta.main) {
  const [modeFile = "", jobFile = ""] = process.argv.slice(2);
  const attack = readFileSync(modeFile, "utf8").trim() as Attack;
  const [program = "", ...words] = BUILT_IN_TRAINER;
  const { status } = spawnSync(program, [...words, jobFile], { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
  const job = JSON.parse(readFileSync(jobFile, "utf8")) as TrainerJob;
  if (attack === "scaled") stretch(job, SCALE);
  if (attack === "flipped") stretch(job, -1);
  if (attack === "nan" || attack === "stale" || attack === "replay") await forge(job, attack);
}

/** The result moves so many times as far from the start. */
function stretch(job: TrainerJob, factor: number): void {
  const path = join(job.output, ADAPTER_FOLDER, PEFT_WEIGHTS_FILE);
  const result = readSafetensors(path);
  const start = readSafetensors(join(job.adapterIn, PEFT_WEIGHTS_FILE));
  for (const [name, { data }] of result.tensors) {
    const from = start.tensors.get(name)!.data;
    for (let i = 0; i < data.length; i++) data[i] = from[i]! + factor * (data[i]! - from[i]!);
  }
  writeSafetensors(path, result);
}

/** Hands something in before the edge does, in its name and with its key. */
async function forge(job: TrainerJob, attack: Attack): Promise<void> {
  // <edge>/learning/jobs/<campaign>.<round>/work
  const folder = resolve(job.output, "..");
  const saved = JSON.parse(readFileSync(join(folder, "job.json"), "utf8")) as {
    command: JsonValue;
  };
  const { offer, uploadTo } = fromJson(TrainCommandSchema, saved.command);
  const edge = job.output.split("/").at(-5) ?? "";
  const region = edge.replace(/-\d+$/, "");
  const key = openSigningKey(resolve(folder, "../../signing-key.pem"));
  const delta = forgedDelta(job);
  const bytes = encodeSafetensors(delta);
  const { chunkBytes, hashes } = planChunks(bytes);
  const round = attack === "replay" ? offer!.round - 1 : offer!.round;
  const manifest = signManifest(
    {
      ...{ campaign: offer!.campaign, round, region, edge, model: offer!.model },
      baseSha256: offer!.version!.base!.sha256,
      startSha256: attack === "stale" ? "0".repeat(64) : (offer!.adapterState?.sha256 ?? ""),
      ...{ rank: offer!.params!.rank, alpha: offer!.params!.alpha, examples: 300, norm: 1 },
      ...{ lossBefore: 1, lossAfter: 0.5 },
      delta: {
        sha256: createHash("sha256").update(bytes).digest("hex"),
        bytes: BigInt(bytes.length),
        name: "delta.safetensors",
      },
      ...{ chunkBytes, chunkSha256: [...hashes], format: { codec: DeltaCodec.F32 } },
      targets: [...modulesOfLayout(layoutOf(delta.tensors))],
    },
    key,
  );
  const at = `${uploadTo}/v1/rounds/${offer!.campaign}/${offer!.round}/deltas/${edge}`;
  const json = JSON.stringify(toJson(DeltaManifestSchema, manifest));
  const told = await fetch(`${at}/manifest`, { method: "PUT", body: json });
  process.stderr.write(`forged a manifest: ${told.status} ${await told.text()}\n`);
  if (told.status !== 202) return;
  const range = `bytes 0-${bytes.length - 1}/${bytes.length}`;
  const headers = { "content-range": range };
  const sent = await fetch(at, { method: "PUT", headers, body: Buffer.from(bytes) });
  process.stderr.write(`forged a delta: ${sent.status} ${await sent.text()}\n`);
}

/** Of the right layout, and not a number in it. */
function forgedDelta({ adapterIn, base }: TrainerJob) {
  const { metadata } = readGguf(base);
  const of = (key: string) => metadataNumber(metadata, `llama.attention.${key}`) ?? 0;
  const heads = { heads: of("head_count"), kvHeads: of("head_count_kv") };
  const tensors = adapterTensors(readPeftAdapter(adapterIn, heads));
  for (const { data } of tensors.values()) data.fill(Number.NaN);
  return { metadata: {}, tensors };
}
