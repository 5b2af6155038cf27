// Sums, differences and the tail of the normal distribution on a logarithmic scale, where the
// accountant's numbers neither overflow nor vanish.

/** Below it the series is exact to rounding; above, the continued fraction converges fast. */
const SERIES_MAX = 2;
const SERIES_TERMS_MAX = 200;
const FRACTION_TERMS_MIN = 12;
const FRACTION_TERMS = 400;
const LOG_SQRT_PI = Math.log(Math.PI) / 2;

/** log(eᵃ + eᵇ). */
export function logAdd(a: number, b: number): number {
  const [high, low] = a > b ? [a, b] : [b, a];
  return low === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
}

/** log(eᵃ − eᵇ). Requires a ≥ b. */
export function logSubtract(a: number, b: number): number {
  if (b === -Infinity) return a;
  if (a < b) throw new RangeError(`e^${a} − e^${b} is negative`);
  return a === b ? -Infinity : a + Math.log(-Math.expm1(b - a));
}

/** log(erfc(x)), to about 1e-14 relative to erfc. */
export function logErfc(x: number): number {
  if (x < 0) return Math.log(2 - Math.exp(logErfc(-x)));
  return x < SERIES_MAX ? Math.log(1 - erfBySeries(x)) : logErfcByFraction(x);
}

/** erf(x) = 2/√π · e^(−x²) · Σ 2ᵏ x^(2k+1) / (1·3·…·(2k+1)): all terms are positive. */
function erfBySeries(x: number): number {
  let term = x;
  let sum = x;
  for (let k = 1; k < SERIES_TERMS_MAX && term > sum * Number.EPSILON; k++) {
    term *= (2 * x * x) / (2 * k + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** erfc(x) = e^(−x²)/√π · 1/(x + ½/(x + 1/(x + 3⁄2/(x + …)))), from its far end. */
function logErfcByFraction(x: number): number {
  let tail = x;
  // The farther out, the sooner it converges.
  const terms = FRACTION_TERMS_MIN + Math.ceil(FRACTION_TERMS / (x * x));
  for (let k = terms; k > 0; k--) tail = x + k / 2 / tail;
  return -x * x - LOG_SQRT_PI - Math.log(tail);
}
