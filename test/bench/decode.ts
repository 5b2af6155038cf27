// Decode speed of an edge as a share of what the engine gives when called directly, for one and for
// eight streams, alternating so that a change of the machine's speed hits both.
import { join, resolve } from "node:path";
import { makeHomeHeldOut } from "../../deploy/demo-model/datasets.ts";
import { bareSource, type DecodeSource, edgeSource, llamaServerSource } from "./decode-source.ts";
import { rate } from "./decode-window.ts";
import { largeModel } from "./large-model.ts";
import { median, spread } from "./statistics.ts";

const demoModel = join(
  resolve(import.meta.dirname, "../.."),
  "deploy/demo-model/commands-q8_0.gguf",
);
const SLOTS = 8;

export interface DecodeOptions {
  readonly turns: number;
  readonly threads: number;
  readonly llamaServer: string | undefined;
}

interface Case {
  readonly model: string;
  readonly path: string;
  readonly maxTokens: number;
  /** Batches of each turn: short completions need many. */
  readonly batches: number;
  readonly target: number;
}

export interface DecodeResult {
  readonly model: string;
  readonly streams: number;
  readonly against: string;
  readonly tokensPerS: number;
  readonly ratio: number;
  readonly target: number;
}

export async function benchDecode(
  options: DecodeOptions,
  say: (line: string) => void,
): Promise<DecodeResult[]> {
  const cases: Case[] = [
    { model: "demo 1.7 M q8_0", path: demoModel, maxTokens: 64, batches: 24, target: 0.7 },
    { model: "random 0.5 B q4_0", path: largeModel(), maxTokens: 48, batches: 1, target: 0.95 },
  ];
  const results: DecodeResult[] = [];
  for (const one of cases) results.push(...(await benchModel(one, options, say)));
  return results;
}

async function benchModel(
  one: Case,
  { turns, threads, llamaServer }: DecodeOptions,
  say: (line: string) => void,
): Promise<DecodeResult[]> {
  const start = { modelPath: one.path, threads, contextSize: 512, slots: SLOTS };
  const sources: DecodeSource[] = [];
  try {
    const edge = await edgeSource(start);
    sources.push(edge, await bareSource(start));
    if (llamaServer !== undefined) sources.push(await llamaServerSource(llamaServer, start));
    return await compare(edge, sources.slice(1), one, turns, say);
  } finally {
    for (const source of sources) await source.close();
  }
}

async function compare(
  edge: DecodeSource,
  others: readonly DecodeSource[],
  one: Case,
  turns: number,
  say: (line: string) => void,
): Promise<DecodeResult[]> {
  const results: DecodeResult[] = [];
  for (const streams of [1, SLOTS]) {
    for (const other of others) {
      const pairs: { edge: number; other: number }[] = [];
      for (let turn = 0; turn <= turns; turn += 1) {
        const pair = {
          other: await measure(other, one, streams, turn),
          edge: await measure(edge, one, streams, turn),
        };
        if (turn > 0) pairs.push(pair); // the first warms both up
      }
      const ratios = pairs.map((pair) => pair.edge / pair.other);
      const rates = { edge: pairs.map((p) => p.edge), other: pairs.map((p) => p.other) };
      say(
        `${one.model}, ${streams} stream(s): edge ${spread(rates.edge, 0)} tok/s, ` +
          `${other.name} ${spread(rates.other, 0)} tok/s, ratio ${spread(ratios)}`,
      );
      const target = other.name === "llama-server" ? 1 : one.target;
      const { model } = one;
      const tokensPerS = median(rates.edge);
      results.push({
        model,
        streams,
        against: other.name,
        tokensPerS,
        ratio: median(ratios),
        target,
      });
    }
  }
  return results;
}

async function measure(
  source: DecodeSource,
  { batches, maxTokens }: Case,
  streams: number,
  turn: number,
): Promise<number> {
  const commands = makeHomeHeldOut(streams * batches);
  const windows = [];
  for (let at = 0; at < batches; at += 1) {
    const batch = commands.slice(at * streams, (at + 1) * streams);
    // Another spelling each turn, so that nobody answers from an earlier prompt's state.
    const prompts = batch.map(({ prompt }) => `${" ".repeat(turn)}${prompt} =>`);
    windows.push(await source.run({ prompts, maxTokens }));
  }
  return rate(windows);
}
