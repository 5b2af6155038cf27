// `npm run simulate:scaling`: replays traffic through the real decision on replicas and a model of
// pods, and through a HorizontalPodAutoscaler on CPU, and says what each cost and missed.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type Controller, cpuAutoscaler, ours } from "./controllers.ts";
import { drawReplicas, type ReplicaPanel } from "./replica-picture.ts";
import { runScaling, type ScalingRun, TTFT_TARGET_MS } from "./scaling-run.ts";
import { type Traffic, traffics } from "./traffic.ts";

const help = `Usage: npm run simulate:scaling -- [options]

Replays a seeded traffic through the decision that GET /v1/scaling tells (region/scaling), carried
out as KEDA and a HorizontalPodAutoscaler do, and through a HorizontalPodAutoscaler on CPU.

  --traffic T   ${traffics.map(({ name }) => name).join(", ")} (default: all)
  --hours H     a shorter run; the day is squeezed into it
  --seed N      (default 1)
  --svg FILE    draw the pods over time
  --json        print one JSON document
  --help        this text

The rows beside isthmus:
  hpa-cpu-busy-70    CPU as an engine uses it: its threads spin while it has any stream
  hpa-cpu-slots-50   what CPU does not tell: the share of slots in use, aimed at 50 % ...
  hpa-cpu-slots-70   ... and at 70 %
A miss is a first token later than ${TTFT_TARGET_MS / 1000} s after the request, or none at all.
`;

const columns = ["requests", "missed", "refused", "p50 ms", "p99 ms", "edge h", "cost", "turns"];
const headOfTable = `  ${"".padEnd(18)}${columns.map((name) => name.padStart(10)).join("")}`;
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const { values } = parseArgs({
  options: {
    traffic: { type: "string" },
    hours: { type: "string" },
    seed: { type: "string", default: "1" },
    svg: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (values.help) say(help);
else rehearse();

function rehearse(): void {
  const chosen = traffics.filter(({ name }) => (values.traffic ?? name) === name);
  const seed = Number(values.seed);
  const hours = values.hours === undefined ? null : Number(values.hours);
  const isWrong = !Number.isInteger(seed) || (hours !== null && !(hours > 0));
  if (chosen.length === 0 || isWrong) {
    process.stderr.write(help);
    process.exitCode = 2;
    return;
  }
  const runs: ScalingRun[] = [];
  const panels: ReplicaPanel[] = [];
  for (const traffic of chosen) {
    const own = runsOf(hours === null ? traffic : { ...traffic, hours }, seed);
    runs.push(...own);
    const lines = own.map(({ controller, replicas }) => ({ name: controller, replicas }));
    panels.push({ title: `${traffic.name}: ${traffic.what}`, lines });
  }
  if (values.json) say(JSON.stringify(runs, null, 2));
  if (values.svg !== undefined) {
    writeFileSync(values.svg, drawReplicas("Edges over time, simulated", panels));
  }
}

function runsOf(traffic: Traffic, seed: number): ScalingRun[] {
  const controllers: Controller[] = [
    ours(),
    cpuAutoscaler({ target: 0.7, reads: "busy" }),
    cpuAutoscaler({ target: 0.5, reads: "slots" }),
    cpuAutoscaler({ target: 0.7, reads: "slots" }),
  ];
  if (!values.json) say(`${traffic.name}: ${traffic.what}\n${headOfTable}`);
  return controllers.map((controller) => {
    const run = runScaling(traffic, controller, seed);
    if (!values.json) say(rowOf(run));
    return run;
  });
}

function rowOf(run: ScalingRun): string {
  const cells = [
    String(run.requests),
    `${(run.missShare * 100).toFixed(2)} %`,
    String(run.refused),
    run.ttftP50Ms.toFixed(0),
    run.ttftP99Ms.toFixed(0),
    run.podHours.toFixed(1),
    run.cost.toFixed(2),
    String(run.turns),
  ];
  return `  ${run.controller.padEnd(18)}${cells.map((cell) => cell.padStart(10)).join("")}`;
}
