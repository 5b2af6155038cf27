// How a process starts, says that it is ready, and stops; each as a real child process.
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import test from "ava";

const fixture = fileURLToPath(new URL("role-fixture.ts", import.meta.url));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the fixture; `onReady` is called with its ready line. */
function runFixture(
  behaviour: string,
  onReady: (child: ChildProcess, line: string) => void,
  flags: readonly string[] = [],
) {
  return new Promise<Ended>((resolve) => {
    const child = spawn(process.execPath, [fixture, behaviour, "--watch-parent", ...flags]);
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      const before = stdout.includes("\n");
      stdout += chunk.toString();
      if (!before && stdout.includes("\n")) onReady(child, stdout.split("\n")[0]!);
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}

const readyLine = '{"ready":true,"http":"http://127.0.0.1:1","grpc":"127.0.0.1:2"}';
const inOrder = `${readyLine}\nstopped second part\nstopped first part\n`;

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`a role says when it is ready and stops in reverse order on ${signal}`, async (t) => {
    const { code, stdout } = await runFixture("serve", (child, line) => {
      t.is(line, readyLine);
      child.kill(signal);
    });
    t.is(code, 0);
    t.is(stdout, inOrder);
  });
}

test("a role says only what its log level lets through", async (t) => {
  const stop = (child: ChildProcess) => void child.kill("SIGTERM");
  const told = await runFixture("serve", stop);
  t.regex(told.stderr, /"msg":"ready"/);
  const quiet = await runFixture("serve", stop, ["--log-level", "warn"]);
  t.is(quiet.stderr, "");
});

test("a role whose parent dies stops in order", async (t) => {
  const { code, stdout } = await runFixture("serve", (child) => child.stdin?.destroy());
  t.is(code, 0);
  t.is(stdout, inOrder);
});

test("a role with a part that never stops ends all the same, and says so", async (t) => {
  const { code, stdout, stderr } = await runFixture("hang", (child) => child.kill("SIGTERM"));
  t.is(code, 1);
  t.regex(stdout, /stopped second part\n$/);
  t.regex(stderr, /stopping took too long/);
});

test("a bug ends the process with 1 and leaves its stack in the log", async (t) => {
  const { code, stderr } = await runFixture("throw", () => {});
  t.is(code, 1);
  t.regex(stderr, /"level":60.*a bug.*role-fixture\.ts/);
});

test("a role that can't start stops what it had started and exits with 1", async (t) => {
  const { code, stdout, stderr } = await runFixture("reject", () => {});
  t.is(code, 1);
  t.is(stdout, "stopped second part\nstopped first part\n");
  t.regex(stderr, /the port is taken/);
});
