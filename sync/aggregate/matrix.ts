// Small dense matrices in f64, row-major: as much linear algebra as LoRA aggregation needs.

export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  /** Row-major. */
  readonly data: Float64Array;
}

export function matrix(rows: number, columns: number, data?: Iterable<number>): Matrix {
  const values = data ? Float64Array.from(data) : new Float64Array(rows * columns);
  if (values.length !== rows * columns) {
    throw new RangeError(`${values.length} numbers don't make ${rows}×${columns}`);
  }
  return { rows, columns, data: values };
}

export function fromRows(rows: readonly (readonly number[])[]): Matrix {
  return matrix(rows.length, rows[0]?.length ?? 0, rows.flat());
}

export function transpose({ rows, columns, data }: Matrix): Matrix {
  const result = matrix(columns, rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) result.data[j * rows + i] = data[i * columns + j]!;
  }
  return result;
}

export function multiply(a: Matrix, b: Matrix): Matrix {
  if (a.columns !== b.rows) {
    throw new RangeError(`${a.rows}×${a.columns} times ${b.rows}×${b.columns}`);
  }
  const result = matrix(a.rows, b.columns);
  for (let i = 0; i < a.rows; i++) {
    for (let k = 0; k < a.columns; k++) {
      const factor = a.data[i * a.columns + k]!;
      for (let j = 0; j < b.columns; j++) {
        result.data[i * b.columns + j]! += factor * b.data[k * b.columns + j]!;
      }
    }
  }
  return result;
}

export function scaled(a: Matrix, factor: number): Matrix {
  return { ...a, data: a.data.map((value) => value * factor) };
}

export function sum(a: Matrix, b: Matrix): Matrix {
  if (a.rows !== b.rows || a.columns !== b.columns) {
    throw new RangeError(`${a.rows}×${a.columns} plus ${b.rows}×${b.columns}`);
  }
  return { ...a, data: a.data.map((value, i) => value + b.data[i]!) };
}

export function frobeniusNorm({ data }: Matrix): number {
  return Math.sqrt(data.reduce((total, value) => total + value * value, 0));
}
