// What there is to sum, as plain numbers that threads share: which bytes of which delta belong to
// which tensor, and where the sum goes. Cut into stripes that any thread may take.
import type { CodecName } from "../delta/codec/delta-format.ts";

/** Numbers of a stripe: long enough that files are read in stretches of megabytes. */
const STRIPE_NUMBERS = 1 << 20;
const PLACE_NUMBERS = 3;

export interface SumInput {
  /** Open for reading as long as the job runs. */
  readonly fd: number;
  readonly codec: CodecName;
  readonly weight: number;
}

/** Where a delta's tensor lies in its file. */
export interface TensorPlace {
  /** First byte of its numbers. */
  readonly values: number;
  /** First byte of the int8 scales or of the top-k index; 0 for the other codecs. */
  readonly companion: number;
  /** How many numbers a top-k file has of it. */
  readonly sent: number;
}

export interface SumJob {
  /** In the order in which they are added. */
  readonly inputs: readonly SumInput[];
  /** Numbers of each tensor. */
  readonly counts: readonly number[];
  /** Open for writing as long as the job runs. */
  readonly outputFd: number;
  /** First byte of each tensor in the output. */
  readonly outputStarts: readonly number[];
  /** Every TensorPlace, by tensor, then by input; in shared memory. */
  readonly places: Float64Array<SharedArrayBuffer>;
}

/** Numbers `first` to `first + count` of one tensor. */
export interface Stripe {
  readonly tensor: number;
  readonly first: number;
  readonly count: number;
}

export function createPlaces(tensors: number, inputs: number): Float64Array<SharedArrayBuffer> {
  const bytes = tensors * inputs * PLACE_NUMBERS * Float64Array.BYTES_PER_ELEMENT;
  return new Float64Array(new SharedArrayBuffer(bytes));
}

export function setPlace(
  places: Float64Array,
  inputs: number,
  tensor: number,
  input: number,
  { values, companion, sent }: TensorPlace,
): void {
  places.set([values, companion, sent], (tensor * inputs + input) * PLACE_NUMBERS);
}

export function placeOf(job: SumJob, tensor: number, input: number): TensorPlace {
  const at = (tensor * job.inputs.length + input) * PLACE_NUMBERS;
  const { places } = job;
  return { values: places[at]!, companion: places[at + 1]!, sent: places[at + 2]! };
}

/** The whole job in stripes, in the order of the output's bytes. */
export function stripesOf(counts: readonly number[]): readonly Stripe[] {
  return counts.flatMap((total, tensor) =>
    Array.from({ length: Math.ceil(total / STRIPE_NUMBERS) }, (_, i) => {
      const first = i * STRIPE_NUMBERS;
      return { tensor, first, count: Math.min(STRIPE_NUMBERS, total - first) };
    }),
  );
}
