// Pretraining in miniature: it learns, and an interrupted run ends with the same bytes.
import fs from "node:fs";
import path from "node:path";
import test from "ava";
import { type PretrainingProgress, pretrain } from "../../../deploy/demo-model/pretraining.ts";
import { TINY_SIZES, temporaryFolder } from "../../edge-node/training/tiny-model.ts";

const folder = temporaryFolder();

function pretrainTiny(name: string, onProgress: (progress: PretrainingProgress) => void): string {
  return pretrain({
    folder: path.join(folder, name),
    steps: 6,
    threads: 1,
    learningRate: 1e-2,
    homeShare: 0.5,
    sizes: TINY_SIZES,
    sequences: 4,
    checkpointEvery: 2,
    onProgress,
  });
}

test("pretraining learns, and resumes to the same bytes after an interruption", (t) => {
  const losses: number[] = [];
  const whole = pretrainTiny("whole", ({ loss }) => losses.push(loss));
  t.is(losses.length, 6);
  t.true((losses.at(-1) as number) < (losses[0] as number));

  const interrupt = ({ step }: PretrainingProgress) => {
    if (step === 5) throw new Error("interrupted");
  };
  t.throws(() => pretrainTiny("halves", interrupt), { message: "interrupted" });
  const steps: number[] = [];
  const resumed = pretrainTiny("halves", ({ step }) => steps.push(step));
  t.deepEqual(steps, [5, 6]);
  t.deepEqual(fs.readFileSync(resumed), fs.readFileSync(whole));
});
