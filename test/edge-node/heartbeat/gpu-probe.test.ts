// The GPUs' tool is asked in the background, and whatever it does, the edge goes on: with a real
// process that plays the tool.
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import test from "ava";
import { GpuProbe, parseGpuStates } from "../../../edge-node/heartbeat/gpu-probe.ts";
import { createLog } from "../../../runtime/log.ts";
import { eventually } from "../../support/eventually.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const log = createLog({ role: "test", name: "gpu-probe", level: "silent" });
const MIB = 1024n * 1024n;
let dir: string;

test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), "isthmus-gpu-"));
});
test.after.always(() => rm(dir, { recursive: true, force: true }));

/** A program in a folder of its own; each run of it adds a line to `calls`. */
async function program(name: string, body: string) {
  const home = await mkdtemp(join(dir, "bin-"));
  const path = join(home, name);
  const calls = join(home, "calls");
  await writeFile(path, `#!/bin/sh\necho "$@" >> ${calls}\n${body}\n`);
  await chmod(path, 0o755);
  const called = async () => (await readFile(calls, "utf8").catch(() => "")).split("\n").length - 1;
  return { home, path, calls, called };
}

test.serial(
  "found on PATH, it tells each device's memory, utilisation and temperature",
  async (t) => {
    const fake = await program(
      "nvidia-smi",
      'echo "NVIDIA H200, 143771, 142000, 35, 41"\necho "NVIDIA T4, 15360, 15000, [N/A], 60"',
    );
    const path = process.env.PATH;
    process.env.PATH = `${fake.home}${delimiter}${path}`;
    const probe = new GpuProbe({ clock: new ManualClock(), log });
    t.deepEqual(probe.states, [], "nothing waits for it");
    try {
      await eventually("it has told", () => probe.states.length === 2);
    } finally {
      process.env.PATH = path;
      probe.stop();
    }
    t.like(probe.states[0], {
      name: "NVIDIA H200",
      vramTotalBytes: 143_771n * MIB,
      vramFreeBytes: 142_000n * MIB,
      temperatureC: 41,
    });
    t.true(Math.abs(probe.states[0]!.utilisation - 0.35) < 1e-9);
    t.like(probe.states[1], { name: "NVIDIA T4", utilisation: 0, temperatureC: 60 });
    t.regex(await readFile(fake.calls, "utf8"), /--query-gpu=\S+ --format=csv,noheader,nounits/);
  },
);

test.serial("where it doesn't exist it is not asked again", async (t) => {
  const clock = new ManualClock();
  const probe = new GpuProbe({ command: join(dir, "nowhere"), clock, log });
  await eventually("it has given up", () => clock.timers === 0);
  t.deepEqual(probe.states, []);
  probe.stop();
});

test.serial("one that hangs is asked once at a time, and ended", async (t) => {
  const clock = new ManualClock();
  const fake = await program("smi", "exec sleep 60");
  const probe = new GpuProbe({ command: fake.path, clock, log });
  await eventually("it was asked", async () => (await fake.called()) === 1);
  clock.advance(20_000);
  t.is(await fake.called(), 1);
  // Its own bound ends it; then the next asking comes.
  await eventually("it is asked again", async () => {
    clock.advance(2000);
    return (await fake.called()) >= 2;
  });
  probe.stop();
  t.is(clock.timers, 0);
});

test.serial("what it told is dropped once it has failed for a while", async (t) => {
  const clock = new ManualClock();
  const flag = join(dir, "broken");
  const fake = await program("smi", `[ -e ${flag} ] && exit 9\necho "T4, 1, 1, 1, 1"`);
  const probe = new GpuProbe({ command: fake.path, clock, log });
  await eventually("it has told", () => probe.states.length === 1);
  await writeFile(flag, "");
  await eventually("it is believed no more", () => {
    clock.advance(2000);
    return probe.states.length === 0;
  });
  t.true((await fake.called()) >= 4);
  probe.stop();
});

test("odd lines are no devices", (t) => {
  t.deepEqual(parseGpuStates(""), []);
  t.deepEqual(parseGpuStates("No devices were found\n"), []);
  t.is(parseGpuStates("T4, -1, x, 250, 3\n")[0]?.utilisation, 1);
  t.is(parseGpuStates("T4, 1, 1, 1, 1\n".repeat(100)).length, 16);
});
