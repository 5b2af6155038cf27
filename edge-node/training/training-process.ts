// The training process: takes the path of a job file, trains, and says on its standard output how
// it goes, one JSON object a line. A wrong tensor ends ggml's process; here that hurts nobody.

import fs from "node:fs";
import os from "node:os";
import { Fault } from "../../proto/fault.ts";
import { systemClock } from "../../runtime/clock.ts";
import { trainLora } from "./lora-training.ts";
import { completeTrainingJob, type TrainingReport } from "./training-job.ts";

/** Training yields to serving. */
const NICENESS = 10;
const USAGE_EXIT_CODE = 2;

function report(message: TrainingReport): void {
  // Synchronous, so that no report is lost when the process ends.
  fs.writeSync(process.stdout.fd, `${JSON.stringify(message)}\n`);
}

async function main(jobFile: string): Promise<void> {
  os.setPriority(0, NICENESS);
  try {
    const job = completeTrainingJob(JSON.parse(fs.readFileSync(jobFile, "utf8")));
    const result = await trainLora(job, systemClock, (progress) =>
      report({ kind: "progress", ...progress }),
    );
    report({ kind: "result", ...result });
  } catch (error) {
    const known = error instanceof Fault;
    const message = error instanceof Error ? error.message : String(error);
    report({ kind: "fault", code: known ? error.code : "internal", message });
    process.exitCode = 1;
  }
}

const [jobFile] = process.argv.slice(2);
if (jobFile === undefined) {
  process.stderr.write("usage: node training-process.ts JOB.json\n");
  process.exitCode = USAGE_EXIT_CODE;
} else {
  await main(jobFile);
  // The engine's library keeps handles open that nobody needs any more.
  process.exit();
}
