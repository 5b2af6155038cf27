// The known answers of the server optimizers, and what they carry from round to round.
import test from "ava";
import {
  type ServerPlan,
  type ServerState,
  serverDefaults,
  serverStep,
  type Vectors,
} from "../../../sync/strategy/server-optimizer.ts";

const deltas = [
  [0.1, -0.2, 0],
  [0.3, 0.1, -0.05],
  [-0.2, 0, 0.4],
];
const vectorsOf = (...values: number[]): Vectors => new Map([["x", Float64Array.from(values)]]);

/** x after each round of the three known deltas. */
function rounds(plan: ServerPlan): number[][] {
  let x = vectorsOf(1, -2, 0.5);
  let state: ServerState | null = null;
  return deltas.map((delta) => {
    ({ x, state } = serverStep(plan, x, vectorsOf(...delta), state));
    return [...x.get("x")!];
  });
}

const known: readonly (readonly [string, ServerPlan, number[][], number])[] = [
  [
    "FedAdagrad",
    serverDefaults.fedadagrad,
    [
      [1.099009901, -2.099502488, 0.5],
      [1.193579176, -2.054980238, 0.4019607843],
      [1.140269404, -2.054980238, 0.5009430273],
    ],
    1e-9,
  ],
  [
    "FedAdam",
    serverDefaults.fedadam,
    [
      [1.09090909, -2.0952381, 0.5],
      [1.21051545, -2.12961556, 0.41666667],
      [1.24997254, -2.16070442, 0.50260605],
    ],
    1e-8,
  ],
  [
    "bias-corrected FedAdam",
    { ...serverDefaults.fedadam, biasCorrection: true },
    [
      [1.067496344, -2.070710456, 0.5],
      [1.143558832, -2.092572467, 0.4470049875],
      [1.166334071, -2.110517436, 0.4966105222],
    ],
    1e-9,
  ],
  [
    "FedYogi",
    serverDefaults.fedyogi,
    [
      [1.009090909, -2.00952381, 0.5],
      [1.021045747, -2.012948367, 0.4916666667],
      [1.024976342, -2.016030469, 0.5002599595],
    ],
    1e-9,
  ],
  [
    "FedAvgM",
    serverDefaults.fedavgm,
    [
      [1.1, -2.2, 0.5],
      [1.49, -2.28, 0.45],
      [1.641, -2.352, 0.805],
    ],
    1e-12,
  ],
  [
    "outer Nesterov",
    serverDefaults.nesterov,
    [
      [1.133, -2.266, 0.5],
      [1.5887, -2.2464, 0.4335],
      [1.54383, -2.29176, 0.93715],
    ],
    1e-12,
  ],
];

for (const [name, plan, expected, tolerance] of known) {
  test(`three rounds of ${name} give the known numbers`, (t) => {
    for (const [round, found] of rounds(plan).entries()) {
      for (const [i, value] of found.entries()) {
        const wanted = expected[round]![i]!;
        t.true(Math.abs(value - wanted) <= tolerance, `round ${round + 1}: ${value}, ${wanted}`);
      }
    }
  });
}

test("FedAdagrad from 0.1 to clients at 0.2 and 1.0, rate 0.1 and tau 0.5, gives 0.15", (t) => {
  const plan = { ...serverDefaults.fedadagrad, tau: 0.5 };
  const mean = (0.2 + 1.0) / 2 - 0.1;
  const { x } = serverStep(plan, vectorsOf(0.1), vectorsOf(mean), null);
  t.true(Math.abs(x.get("x")![0]! - 0.15) < 1e-15);
});

test("FedAvg at rate 1 is the mean, and carries nothing over", (t) => {
  const { x, state } = serverStep(serverDefaults.fedavg, vectorsOf(1), vectorsOf(7 / 3), null);
  t.is(x.get("x")![0], 1 + 7 / 3);
  t.is(state.first.size + state.second.size, 0);
});

test("another optimizer's memory, or one of other tensors, isn't taken over", (t) => {
  const plan = serverDefaults.fedavgm;
  const fresh = serverStep(plan, vectorsOf(1), vectorsOf(1), null);
  const strange = serverStep(serverDefaults.fedadam, vectorsOf(1), vectorsOf(5), null).state;
  const wider = serverStep(plan, vectorsOf(1, 2), vectorsOf(5, 5), null).state;
  for (const state of [strange, wider]) {
    t.deepEqual(serverStep(plan, vectorsOf(1), vectorsOf(1), state), fresh);
  }
  const second = serverStep(plan, vectorsOf(1), vectorsOf(1), fresh.state);
  t.is(second.state.rounds, 2);
  t.not(second.x.get("x")![0], fresh.x.get("x")![0]);
});

test("a step leaves the state before as it was, so it can be done again after a crash", (t) => {
  const { state } = serverStep(serverDefaults.fedadam, vectorsOf(1), vectorsOf(1), null);
  const again = () => serverStep(serverDefaults.fedadam, vectorsOf(1), vectorsOf(2), state);
  t.deepEqual(again(), again());
});

test("a mean delta of other tensors is refused", (t) => {
  const wrong = () => serverStep(serverDefaults.fedavg, vectorsOf(1, 2), vectorsOf(1), null);
  t.throws(wrong, { message: /no 2 of x/ });
});
