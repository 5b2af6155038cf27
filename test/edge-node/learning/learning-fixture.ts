// What tests of learning edges share: edges with scripted trainers, private examples, and ears on
// everything that leaves.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { pino } from "pino";
import type { Evaluator } from "../../../edge-node/learning/evaluation.ts";
import { createLearning, type Learning } from "../../../edge-node/learning/learning.ts";
import type { PrivateData } from "../../../edge-node/learning/private-examples.ts";
import type { RunTraining } from "../../../edge-node/learning/round-training.ts";
import { readExamples, type TrainingExample } from "../../../edge-node/training/example-file.ts";
import { edgeId, regionId } from "../../../proto/ids.ts";
import { systemClock } from "../../../runtime/clock.ts";
import type { NatsLink } from "../../../runtime/nats/connection.ts";
import { writeSafetensors } from "../../../sync/formats/safetensors.ts";
import { adapterOf, hashOf, MODEL, START } from "../../region/round/round-fixture.ts";

/** Examples that nobody but this edge should ever see. */
export function secretsOf(edge: string, count = 12): readonly TrainingExample[] {
  return Array.from({ length: count }, (_, i) => ({
    prompt: `secret-${edge}-prompt-${i}`,
    completion: `secret-${edge}-answer-${i} "quoted"`,
  }));
}

export const linesOf = (examples: readonly unknown[]) =>
  examples.map((example) => `${JSON.stringify(example)}\n`).join("");

export interface EdgeSetting {
  readonly dir: string;
  readonly name: string;
  readonly nats: NatsLink;
  readonly runTraining?: RunTraining;
  readonly evaluator?: Evaluator;
  readonly enabled?: boolean;
  /** By model; default: this edge's secrets for the usual model. */
  readonly privateData?: Record<string, PrivateData>;
  readonly files?: ReadonlyMap<string, Uint8Array>;
  /** Gets every line of the log. */
  readonly onLog?: (line: string) => void;
}

/** Writes the secrets and says where. */
export function privateDataOf(dir: string, name: string): PrivateData {
  mkdirSync(dir, { recursive: true });
  const train = join(dir, "train.jsonl");
  const heldout = join(dir, "heldout.jsonl");
  writeFileSync(train, linesOf(secretsOf(name)));
  writeFileSync(heldout, linesOf(secretsOf(`${name}-heldout`, 5)));
  return { name: "dialect", train, heldout };
}

export function startEdge(setting: EdgeSetting): Learning {
  const { dir, name, nats } = setting;
  const privateData = setting.privateData ?? { [MODEL]: privateDataOf(dir, name) };
  const files = setting.files ?? new Map([[hashOf(START), START]]);
  const log = pino({ level: "trace" }, { write: (line: string) => setting.onLog?.(line) });
  return createLearning({
    region: regionId("us"),
    edge: edgeId(name),
    dir,
    nats,
    training: { enabled: setting.enabled ?? true, threads: 1 },
    privateData: (model) => (Object.hasOwn(privateData, model) ? privateData[model] : undefined),
    fetchArtifact: async ({ sha256 }) => {
      const path = join(dir, `artifact-${sha256}`);
      writeFileSync(path, files.get(sha256) ?? "a base that nobody reads");
      return path;
    },
    runTraining: setting.runTraining ?? scriptedTrainer(1),
    evaluator: setting.evaluator ?? (async () => 0),
    clock: systemClock,
    log,
  });
}

/** A trainer whose result only the seed decides; `until` holds it back before its last step. */
export function scriptedTrainer(seed: number, until: () => Promise<void> = async () => {}) {
  const runs: Parameters<RunTraining>[0][] = [];
  const runTraining: RunTraining = async (job, { signal, onProgress }) => {
    runs.push(job);
    const examples = readExamples(job.examples);
    if (!examples[0]!.prompt.startsWith("secret-")) throw new Error("these aren't the secrets");
    onProgress?.({ step: 1, steps: 2, loss: 2 });
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    await Promise.race([until(), aborted]);
    onProgress?.({ step: 2, steps: 2, loss: 1 });
    mkdirSync(job.outputFolder, { recursive: true });
    const adapterState = join(job.outputFolder, "result.safetensors");
    writeSafetensors(adapterState, { metadata: {}, tensors: adapterOf(seed) });
    const counts = { steps: 2, replayExamples: 0, skipped: 0, tokensPerSecond: 1 };
    const size = { durationMs: 1, memoryBytes: 1, examples: examples.length };
    return { adapterState, metrics: { lossBefore: 2, lossAfter: 1, ...counts, ...size } };
  };
  return Object.assign(runTraining, { runs });
}

/** A TCP proxy that keeps every byte that goes to the target. */
export async function wiretap(target: string) {
  const heard: Buffer[] = [];
  const sockets = new Set<Socket>();
  const { hostname, port } = new URL(target);
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (bytes) => void heard.push(bytes));
    client.pipe(upstream);
    upstream.pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address() as { port: number };
  return {
    address: `http://127.0.0.1:${address.port}`,
    heard: () => Buffer.concat(heard),
    stop: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Which of the texts stand in the bytes: as they are, escaped as in JSON, or in base64. */
export function textsIn(bytes: Buffer, texts: readonly string[]): readonly string[] {
  return texts.filter((text) => {
    const forms = [text, JSON.stringify(text).slice(1, -1)];
    // Base64 of the middle, at each of the three offsets at which it can stand.
    const base64 = [0, 1, 2].map((pad) => {
      const encoded = Buffer.from(" ".repeat(pad) + text).toString("base64");
      return encoded.slice(4, -4);
    });
    return [...forms, ...base64].some((form) => bytes.includes(form));
  });
}

export const readText = (path: string) => readFileSync(path, "utf8");
