// A role that does nothing, run as a child process by role.test.ts.
import { runRole } from "../../runtime/role.ts";

const behaviour = process.argv[2];

runRole({
  role: "fixture",
  name: "fixture-1",
  start: async ({ onStop, clock }) => {
    const alive = clock.every(60_000, () => {});
    onStop(() => void process.stdout.write("stopped first part\n"));
    onStop(async () => {
      process.stdout.write("stopped second part\n");
      if (behaviour === "hang") await new Promise(() => {});
    });
    onStop(() => alive.cancel());
    if (behaviour === "throw")
      queueMicrotask(() => {
        throw new Error("a bug");
      });
    if (behaviour === "reject") throw new Error("the port is taken");
    return { http: "http://127.0.0.1:1", grpc: "127.0.0.1:2" };
  },
});
