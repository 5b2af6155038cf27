// Entry of the child process that holds one loaded model. It ends with its parent: a native crash
// or a wedged load ends this process alone.
import type { FromChild, ToChild } from "./child-messages.ts";
import { recordFault } from "./child-messages.ts";
import { JobDesk } from "./job-desk.ts";
import { loadModelHost } from "./model-host.ts";

function send(message: FromChild): void {
  if (process.connected) process.send?.(message);
}

let desk: JobDesk | null = null;

async function load(options: Extract<ToChild, { kind: "load" }>["options"]): Promise<void> {
  const log = (text: string) => process.stderr.write(text);
  let loaded: Awaited<ReturnType<typeof loadModelHost>>;
  try {
    loaded = await loadModelHost(options, log);
  } catch (problem) {
    send({ kind: "load-failed", fault: recordFault(problem, "failed-precondition") });
    process.disconnect();
    return;
  }
  desk = new JobDesk(loaded.host, send);
  send({ kind: "loaded", info: loaded.info });
  await desk.run();
}

process.on("message", (message: ToChild) => {
  if (message.kind === "load") {
    // A scheduler that throws leaves nothing to go on with: the parent starts a new process.
    load(message.options).catch((problem: unknown) => {
      process.stderr.write(`the scheduler failed: ${String(problem)}\n`);
      process.exit(1);
    });
  } else if (message.kind === "call") {
    desk?.call(message.id, message.call);
  } else {
    desk?.cancel(message.id);
  }
});
process.on("disconnect", () => process.exit(0));
