// The frame in which a truncated product goes on: the same product, an A that can learn, and
// coordinates near those before.
import test from "ava";
import { frameFactors } from "../../../sync/aggregate/factor-frame.ts";
import {
  frobeniusNorm,
  type Matrix,
  matrix,
  multiply,
  scaled,
  sum,
  transpose,
} from "../../../sync/aggregate/matrix.ts";
import { productSpectrum } from "../../../sync/aggregate/rank-truncation.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";

const random = seededRandom(31);
const gauss = (rows: number, columns: number, size = 1) =>
  matrix(
    rows,
    columns,
    Array.from({ length: rows * columns }, () => size * random.gauss()),
  );
const distance = (x: Matrix, y: Matrix) => frobeniusNorm(sum(x, scaled(y, -1)));
const orders = ["largest-first", "like-start"] as const;

test("the product stays, and A has orthonormal rows of the start's length", (t) => {
  const start = { b: gauss(9, 3), a: gauss(3, 11, 0.3) };
  const factors = { b: gauss(9, 3), a: gauss(3, 11) };
  for (const order of orders) {
    const framed = frameFactors(productSpectrum(factors), 3, start, order);
    t.true(distance(multiply(framed.b, framed.a), multiply(factors.b, factors.a)) < 1e-12);
    const length = frobeniusNorm(start.a) ** 2 / 3;
    const gram = multiply(framed.a, transpose(framed.a));
    for (const [i, value] of gram.data.entries()) {
      t.true(Math.abs(value - (i % 4 === 0 ? length : 0)) < 1e-12);
    }
  }
});

test("like the start means that what hasn't changed keeps its coordinates", (t) => {
  const fresh = { b: gauss(9, 3), a: gauss(3, 11) };
  const start = frameFactors(productSpectrum(fresh), 3, fresh, "largest-first");
  const again = frameFactors(productSpectrum(start), 3, start, "like-start");
  t.true(distance(again.a, start.a) < 1e-12);
  t.true(distance(again.b, start.b) < 1e-12);
});

test("largest first means that the first components are the best of a lower rank", (t) => {
  const factors = { b: gauss(9, 4), a: gauss(4, 11) };
  const spectrum = productSpectrum(factors);
  const framed = frameFactors(spectrum, 4, factors, "largest-first");
  const cut = { b: matrix(9, 2), a: matrix(2, 11, framed.a.data.subarray(0, 22)) };
  for (let i = 0; i < 9; i++) {
    for (let k = 0; k < 2; k++) cut.b.data[i * 2 + k] = framed.b.data[i * 4 + k]!;
  }
  const lost = distance(multiply(cut.b, cut.a), multiply(factors.b, factors.a));
  t.true(Math.abs(lost - Math.hypot(...spectrum.values.slice(2))) < 1e-12);
});

test("a product of lower rank leaves A whole, with directions of the start and B at 0", (t) => {
  const start = { b: matrix(9, 3), a: gauss(3, 11) };
  for (const factors of [
    { b: gauss(9, 1), a: gauss(1, 11) },
    { b: matrix(9, 3), a: gauss(3, 11) },
  ]) {
    for (const order of orders) {
      const framed = frameFactors(productSpectrum(factors), 3, start, order);
      t.true(distance(multiply(framed.b, framed.a), multiply(factors.b, factors.a)) < 1e-12);
      const gram = multiply(framed.a, transpose(framed.a));
      const length = frobeniusNorm(start.a) ** 2 / 3;
      for (const i of [0, 4, 8]) t.true(Math.abs(gram.data[i]! - length) < 1e-9, order);
    }
  }
});
