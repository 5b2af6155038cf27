// A server optimizer's memory as a safetensors file, f32: what one round leaves for the next. The
// same memory gives the same bytes, so a round that is merged again changes nothing.
import { Fault } from "../../proto/fault.ts";
import { decodeSafetensors, encodeSafetensors, type SafeTensor } from "../formats/safetensors.ts";
import { type ServerState, serverOptimizers, type Vectors } from "./server-optimizer.ts";

const FIRST = "first/";
const SECOND = "second/";

export function encodeServerState({ server, rounds, first, second }: ServerState): Uint8Array {
  const tensors = new Map<string, SafeTensor>();
  for (const [prefix, vectors] of [
    [FIRST, first],
    [SECOND, second],
  ] as const) {
    for (const name of [...vectors.keys()].sort()) {
      const data = Float32Array.from(vectors.get(name)!);
      tensors.set(prefix + name, { shape: [data.length], data });
    }
  }
  return encodeSafetensors({ metadata: { server, rounds: String(rounds) }, tensors });
}

/** Faults: `invalid-argument` for anything but such a file. */
export function decodeServerState(bytes: Buffer, source: string): ServerState {
  const { metadata, tensors } = decodeSafetensors(bytes, source);
  const server = serverOptimizers.find((name) => name === metadata.server);
  const rounds = Number(metadata.rounds);
  if (server === undefined || !(Number.isSafeInteger(rounds) && rounds >= 1)) {
    throw new Fault("invalid-argument", `${source}: not the memory of a server optimizer`);
  }
  return { server, rounds, first: under(tensors, FIRST), second: under(tensors, SECOND) };
}

function under(tensors: ReadonlyMap<string, SafeTensor>, prefix: string): Vectors {
  return new Map(
    [...tensors].flatMap(([name, { data }]) => {
      return name.startsWith(prefix) ? [[name.slice(prefix.length), Float64Array.from(data)]] : [];
    }),
  );
}
