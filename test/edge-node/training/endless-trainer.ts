// Starts a shell that never ends, as an edge starts its trainer, and says its process id: for a
// test that kills this process. node endless-trainer.ts [paused]
import fs from "node:fs";
import { startProcessGroup } from "../../../edge-node/training/process-group.ts";

const group = startProcessGroup(["/bin/sh", "-c", "while :; do sleep 1; done"]);
if (process.argv[2] === "paused") group.pause();
fs.writeSync(1, `${group.pid}\n`);
