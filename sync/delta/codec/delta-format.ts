// How the numbers of a delta are written: which codecs there are, and which one a round uses.
import { Fault } from "../../../proto/fault.ts";
import { DeltaCodec, type DeltaFormat } from "../../../proto/gen/isthmus/v1/rounds_pb.ts";

export const codecNames = ["f32", "bf16", "int8", "top-k"] as const;
export type CodecName = (typeof codecNames)[number];

export interface CodecFormat {
  readonly codec: CodecName;
  /** Share of each tensor's numbers that top-k sends, above 0 to 1; of no meaning to the others. */
  readonly topShare: number;
}

export const plainFormat: CodecFormat = { codec: "f32", topShare: 0 };

const namesOnWire: Record<DeltaCodec, CodecName> = {
  [DeltaCodec.UNSPECIFIED]: "f32",
  [DeltaCodec.F32]: "f32",
  [DeltaCodec.BF16]: "bf16",
  [DeltaCodec.INT8]: "int8",
  [DeltaCodec.TOP_K]: "top-k",
};

const wireNames: Record<CodecName, DeltaCodec> = {
  f32: DeltaCodec.F32,
  bf16: DeltaCodec.BF16,
  int8: DeltaCodec.INT8,
  "top-k": DeltaCodec.TOP_K,
};

/** What a format on the wire names; undefined for a number that stands for nothing. */
export function codecName({ codec }: DeltaFormat): CodecName | undefined {
  return namesOnWire[codec];
}

/** Reads a format off the wire. Faults: `invalid-argument` for one that makes no sense. */
export function formatFromWire(format: DeltaFormat | undefined): CodecFormat {
  if (format === undefined) return plainFormat;
  const codec = codecName(format);
  if (codec === undefined) {
    throw new Fault("invalid-argument", `a codec numbered ${format.codec}`, { param: "format" });
  }
  if (codec !== "top-k") return { codec, topShare: 0 };
  // As it is on the wire, so that everybody counts with the same number.
  const topShare = Math.fround(format.topShare);
  if (!(topShare > 0 && topShare <= 1)) {
    throw new Fault("invalid-argument", `a top share of ${topShare}`, { param: "format" });
  }
  return { codec, topShare };
}

export function formatToWire({ codec, topShare }: CodecFormat) {
  return { codec: wireNames[codec], topShare };
}

export function isSameFormat(a: CodecFormat, b: CodecFormat): boolean {
  return a.codec === b.codec && (a.codec !== "top-k" || a.topShare === b.topShare);
}

/**
 * The format that a round's deltas have. Without a start, the delta is the whole adapter with its
 * seeded numbers, of which every one is needed: top-k would tear it, so it goes as f32.
 */
export function formatOfRound(format: CodecFormat, hasStart: boolean): CodecFormat {
  return format.codec === "top-k" && !hasStart ? plainFormat : format;
}

/** Numbers that top-k sends of a tensor of so many: never none. */
export function topCount(count: number, topShare: number): number {
  return Math.min(count, Math.max(1, Math.ceil(topShare * count)));
}
