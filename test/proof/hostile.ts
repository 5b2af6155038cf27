// `npm run prove:hostile`: ten thousand random and mutated requests over HTTP and gRPC at a gateway
// and an edge. Every malformed one must get its 4xx or INVALID_ARGUMENT, every process must live,
// and memory must stop growing. Exits 1 otherwise.
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { ExecutionContext, TestFn } from "ava";
import type { ConformanceTarget } from "../conformance/conformance-target.ts";
import { fuzzConformance } from "../conformance/fuzz.ts";
import { prompts } from "../e2e/stream-set.ts";
import { startTestMesh, type TestMesh } from "../e2e/test-mesh.ts";
import { childrenOf, residentBytesOf } from "../support/process-usage.ts";

/** The suite has 9 properties, each run this often in a turn. */
const PROPERTIES = 9;
const DOORS = ["us", "us-1"] as const;
/** Turns: the first ones fill caches and the heap, between the last two nothing may grow. */
const TURNS = 4;
const SETTLE_MS = 3000;
const GROWTH_SHARE_MAX = 0.1;

const { values } = parseArgs({ options: { requests: { type: "string", default: "10000" } } });
const runs = Math.ceil(Number(values.requests) / (PROPERTIES * DOORS.length * TURNS));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

type Property = (t: ExecutionContext) => Promise<void>;

/** Collects the suite's properties instead of handing them to a test runner. */
function propertiesOf(target: () => ConformanceTarget, seed: number): Map<string, Property> {
  const found = new Map<string, Property>();
  const declare = (title: string, property: Property) => void found.set(title, property);
  fuzzConformance(declare as unknown as TestFn, target, { runs, seed });
  return found;
}

const failures: string[] = [];

async function attack(mesh: TestMesh, door: string, seed: number): Promise<void> {
  const target = (): ConformanceTarget => ({
    http: mesh.http(door),
    grpc: mesh.grpc(door),
    model: "commands",
    prompt: prompts(1)[0]!,
    embeds: true,
  });
  for (const [title, property] of propertiesOf(target, seed)) {
    const notThrowsAsync = async (attempt: Promise<unknown>) => {
      await attempt.catch((problem: unknown) => {
        const cause = problem instanceof Error ? (problem.cause ?? "an improper answer") : "";
        failures.push(`${door}: ${title}: ${problem}\n${cause}`);
      });
      return true;
    };
    await property({ notThrowsAsync } as unknown as ExecutionContext);
  }
}

/** Resident bytes of each role's process and of the engines below them. */
function memoryOf(mesh: TestMesh): Map<string, number> {
  const found = new Map<string, number>();
  for (const { role, name, pid } of mesh.handle.state.processes) {
    if (role === "nats") continue;
    found.set(name, residentBytesOf(pid));
    for (const child of childrenOf(pid)) found.set(`${name}'s engine`, residentBytesOf(child));
  }
  return found;
}

await using mesh = await startTestMesh({ regions: ["us"], edges: 1 });
const pids = () => mesh.handle.state.processes.map(({ name, pid }) => `${name}=${pid}`).join();
const alive = pids();
const history: Map<string, number>[] = [];
for (let turn = 1; turn <= TURNS; turn += 1) {
  for (const door of DOORS) await attack(mesh, door, turn);
  await delay(SETTLE_MS);
  history.push(memoryOf(mesh));
  const megabytes = [...history.at(-1)!].map(([name, b]) => `${name} ${(b / 2 ** 20).toFixed(0)}`);
  say(`${turn * runs * PROPERTIES * DOORS.length} requests; resident MB: ${megabytes.join(", ")}`);
}
if (pids() !== alive) failures.push(`processes changed: ${alive} became ${pids()}`);
for (const [name, bytes] of history.at(-1)!) {
  const before = history.at(-2)!.get(name);
  if (before === undefined) failures.push(`${name} is new: its predecessor died`);
  else if (bytes > before * (1 + GROWTH_SHARE_MAX)) {
    failures.push(`${name} grew from ${before} to ${bytes} bytes in the last turn`);
  }
}
for (const failure of failures) say(`FAILED: ${failure}`);
if (failures.length === 0) say("met: all refused or answered properly, all alive, no growth");
process.exitCode = failures.length > 0 ? 1 : 0;
