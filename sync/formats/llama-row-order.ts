// The rows of attn_q and attn_k stand in another order in GGUF than in Hugging Face's llama.
//
// Hugging Face rotates the two halves of a head against each other, llama.cpp neighbouring pairs;
// its converter therefore interleaves the halves. A LoRA's B has one row for each of those rows.

/** Which input row each output row takes: output h·d + 2j + s takes input h·d + s·(d/2) + j. */
export function ggufRowSources(rows: number, heads: number): number[] {
  const headSize = rows / heads;
  return Array.from({ length: rows }, (_, row) => {
    const within = row % headSize;
    return row - within + (within % 2) * (headSize / 2) + Math.floor(within / 2);
  });
}

/** Brings the rows of a Hugging Face matrix into GGUF's order. */
export function rowsToGguf(matrix: Float32Array, rows: number, heads: number): Float32Array {
  const columns = matrix.length / rows;
  const out = new Float32Array(matrix.length);
  ggufRowSources(rows, heads).forEach((source, row) => {
    out.set(matrix.subarray(source * columns, (source + 1) * columns), row * columns);
  });
  return out;
}

/** Brings the rows of a GGUF matrix into Hugging Face's order. */
export function rowsFromGguf(matrix: Float32Array, rows: number, heads: number): Float32Array {
  const columns = matrix.length / rows;
  const out = new Float32Array(matrix.length);
  ggufRowSources(rows, heads).forEach((source, row) => {
    out.set(matrix.subarray(row * columns, (row + 1) * columns), source * columns);
  });
  return out;
}
