// The launcher with real nats-servers and fake roles.

import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import test from "ava";
import { type MeshHandle, startMesh } from "../../../deploy/local/mesh.ts";
import { processStart } from "../../../deploy/local/process-identity.ts";
import { MeshRefused } from "../../../deploy/local/usage-error.ts";
import { eventually } from "../../support/eventually.ts";
import { fakePlace } from "./fake-mesh.ts";

const isAlive = (pid: number) => processStart(pid) !== undefined;
const pidsOf = ({ state }: Pick<MeshHandle, "state">) => state.processes.map(({ pid }) => pid);

test.serial(
  "a mesh comes up whole, mesh.json describes it, and stopping leaves no process",
  async (t) => {
    await using place = await fakePlace(["us", "eu", "ap"], 2);
    const startMs = performance.now();
    const mesh = await startMesh(place.options);
    t.log(
      `8 nats-servers and 10 fake roles ready in ${Math.round(performance.now() - startMs)} ms`,
    );
    const state = await place.state();
    const base = place.options.portBase;
    t.true(state.ready);
    t.deepEqual(
      state.processes.map(({ role, name, region }) => `${role} ${name} ${region}`),
      [
        ...["central", "us", "eu", "ap"].flatMap((site) => [
          `nats nats-${site}-g ${site}`,
          `nats nats-${site}-j ${site}`,
        ]),
        "coordinator coordinator central",
        ...["us", "eu", "ap"].map((region) => `region ${region} ${region}`),
        ...["us", "eu", "ap"].flatMap((region) => [
          `edge ${region}-1 ${region}`,
          `edge ${region}-2 ${region}`,
        ]),
      ],
    );
    t.deepEqual(
      state.processes.find(({ name }) => name === "eu-1"),
      {
        role: "edge",
        name: "eu-1",
        region: "eu",
        pid: mesh.process("eu-1").pid,
        http: `http://127.0.0.1:${base + 110}`,
        grpc: `127.0.0.1:${base + 111}`,
        nats: `nats://127.0.0.1:${base + 106}`,
      },
    );
    const pids = pidsOf(mesh);
    t.true(pids.every(isAlive));
    await mesh.stop();
    t.false(pids.some(isAlive));
    t.deepEqual(await place.state(), { processes: [], ready: false });
  },
);

test.serial(
  "a role that is killed by hand stays dead and leaves mesh.json; restart brings it back",
  async (t) => {
    await using place = await fakePlace(["us"], 2);
    const ended: unknown[] = [];
    await using mesh = await startMesh({
      ...place.options,
      onEnd: (name, { signal }, againInMs) => ended.push([name, signal, againInMs]),
    });
    const { pid } = mesh.process("us-1");
    await mesh.kill("us-1", "SIGKILL");
    await eventually("its end is told", () => ended.length === 1);
    t.deepEqual(ended, [["us-1", "SIGKILL", undefined]]);
    const names = (await place.state()).processes.map(({ name }) => name);
    t.false(names.includes("us-1"));
    t.true(names.includes("us-2"));
    await mesh.restart("us-1");
    t.not(mesh.process("us-1").pid, pid);
    t.true((await place.state()).ready);
  },
);

test.serial(
  "with restart, a killed process comes back on its own ports, a nats-server too",
  async (t) => {
    await using place = await fakePlace(["us"]);
    await using mesh = await startMesh({ ...place.options, restart: true });
    for (const name of ["us-1", "nats-us-j"]) {
      const { pid } = mesh.process(name);
      await mesh.kill(name, "SIGKILL");
      await eventually(`${name} is back`, async () => {
        const { processes, ready } = await place.state();
        const again = processes.find((process) => process.name === name);
        return ready && again !== undefined && again.pid !== pid;
      });
    }
    t.is((await fetch(`${mesh.process("us-1").http}/readyz`)).status, 200);
  },
);

test.serial("a frozen role is ended by stop all the same", async (t) => {
  await using place = await fakePlace(["us"]);
  const mesh = await startMesh(place.options);
  const { pid } = mesh.process("us-1");
  await mesh.kill("us-1", "SIGSTOP");
  await mesh.stop();
  t.false(isAlive(pid));
});

test.serial(
  "a taken port is refused by number, owner and option, before anything starts",
  async (t) => {
    await using place = await fakePlace(["us"]);
    const squatter = createServer().listen(place.options.portBase + 60, "127.0.0.1");
    await once(squatter, "listening");
    const refused = await t.throwsAsync(startMesh(place.options), { instanceOf: MeshRefused });
    t.regex(refused?.message ?? "", new RegExp(`port ${place.options.portBase + 60} `));
    t.regex(refused?.message ?? "", /edge us-1, HTTP.*--port-base/);
    await t.throwsAsync(place.state(), { code: "ENOENT" }, "nothing was started");
    squatter.close();
  },
);

test.serial(
  "a second mesh in the same folder is refused; after stop the folder is free again",
  async (t) => {
    await using place = await fakePlace(["us"]);
    const first = await startMesh(place.options);
    const refused = await t.throwsAsync(startMesh(place.options), { instanceOf: MeshRefused });
    t.regex(refused?.message ?? "", /already runs in .* --dir/);
    await first.stop();
    const again = await startMesh(place.options);
    await again.stop();
  },
);

test.serial("a lock left by a dead process doesn't keep the folder", async (t) => {
  await using place = await fakePlace(["us"]);
  // The pid lives, but it started at another time: not the process that took the lock.
  await writeFile(
    join(place.dir, "mesh.lock"),
    JSON.stringify({ pid: process.pid, start: "another time" }),
  );
  const mesh = await startMesh(place.options);
  t.true(mesh.state.ready);
  await mesh.stop();
});

test.serial(
  "a role that can't start fails the start with its own words, and nothing stays",
  async (t) => {
    await using place = await fakePlace(["us"]);
    const overrides = { region: { failWith: 3 } };
    const refused = await t.throwsAsync(startMesh({ ...place.options, overrides }), {
      instanceOf: MeshRefused,
    });
    t.regex(refused?.message ?? "", /us ended before it was ready/);
    t.regex(refused?.message ?? "", /this role was told to fail/);
    t.deepEqual(await place.state(), { processes: [], ready: false });
  },
);

test.serial("a start given up by its signal stops what was started", async (t) => {
  await using place = await fakePlace(["us"]);
  const giveUp = new AbortController();
  const seen: number[] = [];
  const starting = startMesh({
    ...place.options,
    signal: giveUp.signal,
    onProgress: (line) => {
      if (line.includes("coordinator")) giveUp.abort();
    },
  });
  await t.throwsAsync(starting, { instanceOf: MeshRefused });
  seen.push(...(await place.state()).processes.map(({ pid }) => pid));
  t.deepEqual(seen, []);
});

test.serial(
  "each role gets its own bounded log and a configuration that names its place",
  async (t) => {
    await using place = await fakePlace(["us", "eu"]);
    await using mesh = await startMesh(place.options);
    t.regex(await readFile(join(mesh.layout.logDir, "us-1.log"), "utf8"), /listening/);
    const config = JSON.parse(await readFile(join(mesh.layout.configDir, "us.json"), "utf8"));
    t.deepEqual(config.peers, [
      { region: "eu", http: mesh.process("eu").http, grpc: mesh.process("eu").grpc },
    ]);
    t.is(config.coordinator.http, mesh.process("coordinator").http);
  },
);
