// A trainer on an edge that somebody has taken over: it trains as the built-in one does, and then
// does what the file that its first argument names says. It has the edge's signing key, as whoever
// has the edge would. node poisoned-trainer.ts MODE_FILE JOB.json
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { BUILT_IN_TRAINER } from "../../edge-node/training/run-training.ts";
import { ADAPTER_FOLDER, type TrainerJob } from "../../edge-node/training/trainer-contract.ts";
import {
  DeltaManifestSchema,
  type RoundOffer,
  TrainCommandSchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { planChunks } from "../../sync/delta/chunks.ts";
import { encodeDelta } from "../../sync/delta/codec/delta-encoder.ts";
import { openDelta } from "../../sync/delta/codec/delta-file.ts";
import {
  formatFromWire,
  formatOfRound,
  formatToWire,
} from "../../sync/delta/codec/delta-format.ts";
import { scanDelta } from "../../sync/delta/codec/delta-numbers.ts";
import { signManifest } from "../../sync/delta/delta-manifest.ts";
import { modulesOfLayout } from "../../sync/delta/rank-slice.ts";
import { openSigningKey } from "../../sync/delta/signing-key.ts";
import { deltaBetween, type TensorMap } from "../../sync/delta/tensor-map.ts";
import { metadataNumber } from "../../sync/formats/gguf-metadata.ts";
import { readGguf } from "../../sync/formats/gguf-reader.ts";
import { adapterTensors } from "../../sync/formats/lora-adapter.ts";
import { PEFT_WEIGHTS_FILE, readPeftAdapter } from "../../sync/formats/peft-adapter.ts";
import { readSafetensors, writeSafetensors } from "../../sync/formats/safetensors.ts";

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
  if (attack === "nan" || attack === "stale" || attack === "replay") {
    await forge(job, attack, `${modeFile}.delta`);
  }
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
async function forge(job: TrainerJob, attack: Attack, keptPath: string): Promise<void> {
  // <edge>/learning/jobs/<campaign>.<round>/work
  const folder = resolve(job.output, "..");
  const saved = JSON.parse(readFileSync(join(folder, "job.json"), "utf8")) as {
    command: JsonValue;
  };
  const { offer, uploadTo } = fromJson(TrainCommandSchema, saved.command);
  const edge = job.output.split("/").at(-5) ?? "";
  const key = openSigningKey(resolve(folder, "../../signing-key.pem"));
  const isAgain = attack === "replay" && offer!.round > 1;
  if (!isAgain) writeForged(job, offer!, attack, keptPath);
  const manifest = signManifest(await forgedManifest(offer!, edge, keptPath, attack), key);
  const at = `${uploadTo}/v1/rounds/${offer!.campaign}/${offer!.round}/deltas/${edge}`;
  const json = JSON.stringify(toJson(DeltaManifestSchema, manifest));
  const told = await fetch(`${at}/manifest`, { method: "PUT", body: json });
  process.stderr.write(`forged a manifest: ${told.status} ${await told.text()}\n`);
  if (told.status !== 202) return;
  const bytes = readFileSync(keptPath);
  const range = `bytes 0-${bytes.length - 1}/${bytes.length}`;
  const headers = { "content-range": range };
  const sent = await fetch(at, { method: "PUT", headers, body: bytes });
  process.stderr.write(`forged a delta: ${sent.status} ${await sent.text()}\n`);
}

/** In the round's format. A replay is honest in the first round, and the same bytes ever after. */
function writeForged(job: TrainerJob, offer: RoundOffer, attack: Attack, path: string): void {
  const trained = adapterAt(join(job.output, ADAPTER_FOLDER), job.base);
  const start = offer.adapterState ? adapterAt(job.adapterIn, job.base) : null;
  const delta = deltaBetween(start, trained);
  if (attack === "nan") for (const { data } of delta.values()) data.fill(Number.NaN);
  writeFileSync(path, encodeDelta(delta, formatOf(offer)));
}

function formatOf({ format, adapterState }: RoundOffer) {
  return formatOfRound(formatFromWire(format), adapterState !== undefined);
}

async function forgedManifest(offer: RoundOffer, edge: string, path: string, attack: Attack) {
  const { campaign, round, model, version, adapterState, params } = offer;
  const { rank, alpha } = params!;
  const bytes = readFileSync(path);
  const { chunkBytes, hashes } = planChunks(bytes);
  const { layout, norm } = await scanned(path);
  return {
    ...{ campaign, round, region: edge.replace(/-\d+$/, ""), edge, model },
    baseSha256: version!.base!.sha256,
    startSha256: attack === "stale" ? "0".repeat(64) : (adapterState?.sha256 ?? ""),
    ...{ rank, alpha, examples: 300, norm, lossBefore: 1, lossAfter: 0.5 },
    delta: {
      sha256: createHash("sha256").update(bytes).digest("hex"),
      bytes: BigInt(bytes.length),
      name: "delta.safetensors",
    },
    ...{ chunkBytes, chunkSha256: [...hashes] },
    format: formatToWire(formatOf(offer)),
    targets: [...modulesOfLayout(layout)],
  };
}

/** What a manifest tells of the numbers. It must tell a norm, even of what has none. */
async function scanned(path: string) {
  const { tensors } = await openDelta(path);
  const layout = new Map([...tensors.values()].map(({ name, shape }) => [name, shape]));
  const { norm } = await scanDelta(path, layout);
  return { layout, norm: Number.isFinite(norm) ? norm : 1 };
}

function adapterAt(folder: string, base: string): TensorMap {
  const { metadata } = readGguf(base);
  const of = (key: string) => metadataNumber(metadata, `llama.attention.${key}`) ?? 0;
  const heads = { heads: of("head_count"), kvHeads: of("head_count_kv") };
  return adapterTensors(readPeftAdapter(folder, heads));
}
