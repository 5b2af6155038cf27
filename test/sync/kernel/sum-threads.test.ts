// What happens to a job whose files aren't what they were.
import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { createPlaces, type SumJob, setPlace } from "../../../sync/kernel/sum-job.ts";
import { runSumJob } from "../../../sync/kernel/sum-threads.ts";
import { temporaryFolder } from "./delta-folder.ts";

for (const [what, count] of [
  ["in place", 1000],
  ["in threads", 3 << 20],
] as const) {
  test(`a file that became shorter ends a sum ${what} with a fault`, async (t) => {
    const dir = await temporaryFolder(t);
    await writeFile(join(dir, "delta"), Buffer.alloc(900));
    await using delta = await open(join(dir, "delta"));
    await using output = await open(join(dir, "sum"), "w");
    const places = createPlaces(1, 1);
    setPlace(places, 1, 0, 0, { values: 100, companion: 0, sent: count });
    const job: SumJob = {
      inputs: [{ fd: delta.fd, codec: "f32", weight: 1 }],
      counts: [count],
      outputFd: output.fd,
      outputStarts: [0],
      places,
    };
    const thrown = await t.throwsAsync(runSumJob(job, 2), { message: /file became shorter/ });
    t.is((thrown as { code?: string } | undefined)?.code, "internal");
  });
}
