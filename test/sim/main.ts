// `npm run simulate`: runs the simulated mesh. Audits it under faults, or compares how policies
// route one workload. The exit status is 1 when an audit fails.
import { writeFileSync } from "node:fs";
import { type ParseArgsConfig, parseArgs } from "node:util";
import { runAudit } from "./audit/audit-run.ts";
import { keepSeed } from "./audit/seed-book.ts";
import { type PolicyName, policyNames } from "./policies/policies.ts";
import { type PolicyRun, runPolicy, standingOf } from "./report/comparison.ts";
import { drawPercentiles, type PicturePanel } from "./report/percentile-picture.ts";
import { auditLines, headOfTable, rowOf, sloLine, verdictOf } from "./report/tables.ts";
import { type Scenario, scenarioOf, scenarios } from "./workload/scenario.ts";

const help = `Usage: npm run simulate -- [options]

A deterministic simulation of the mesh: the real membership, routing, spill, admission and stream
continuation, over simulated engines, links and clocks. The same options give the same trace.

Compare how policies route one workload:
  --scenario S      ${scenarios.map(({ name }) => name).join(", ")}
                    (default steady)
  --policy P        ${policyNames.join(", ")}
                    (default ours)
  --compare         every policy on the scenario, with the verdict on ours
  --all             the same for every scenario
  --seeds N         pool N seeds, from --seed on          (default 1)
  --utilisation U   load as a share of the capacity       (default: the scenario's)
  --svg FILE        draw the waits for the first token, by percentile

Audit a mesh under faults of every kind:
  --audit           kill, freeze, cut, slow, skew, partition; then check what callers got
  --edges N         (default 270)
  --regions N       (default 3)
  --rate R          requests a second  (default: 65 % of the capacity; 20 beyond 400 edges)
  A seed that fails is kept in test/sim/seeds.json, and run by the tests from then on.

Both:
  --seconds N       simulated seconds  (default 300)
  --seed N          (default 1)
  --json            print one JSON document instead of text
  --help            this text

Scenarios:
${scenarios.map(({ name, what }) => `  ${name.padEnd(16)}${what}`).join("\n")}

Examples:
  npm run simulate -- --compare --scenario bursty --seeds 3
  npm run simulate -- --all --svg waits.svg
  npm run simulate -- --audit --edges 10000 --regions 20 --seconds 600 --seed 7
`;

const RATE_MAX = 20;
/** The first thirty don't count. */
const COMPARED_MIN_S = 40;
const PROGRESS_EVERY_MS = 5000;
const say = (line: string): void => void process.stdout.write(`${line}\n`);
/** What is only of passing interest. */
const note = (line: string): void => void process.stderr.write(`${line}\n`);

const { values } = read({
  options: {
    scenario: { type: "string", default: "steady" },
    policy: { type: "string", default: "ours" },
    compare: { type: "boolean", default: false },
    all: { type: "boolean", default: false },
    seeds: { type: "string", default: "1" },
    utilisation: { type: "string" },
    svg: { type: "string" },
    audit: { type: "boolean", default: false },
    edges: { type: "string", default: "270" },
    regions: { type: "string", default: "3" },
    rate: { type: "string" },
    seconds: { type: "string", default: "300" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

// A fault that a simulated mesh expects has no use for where it was made; it costs a third of it.
Error.stackTraceLimit = values.audit ? 0 : 10;
const seed = numberOf("seed", values.seed);
const seconds = numberOf("seconds", values.seconds);

if (values.help) say(help);
else await (values.audit ? audit() : compare());

async function audit(): Promise<void> {
  const edges = numberOf("edges", values.edges);
  const regions = numberOf("regions", values.regions);
  const given = values.rate === undefined ? null : numberOf("rate", values.rate);
  const ratePerS = given ?? (edges > 400 ? RATE_MAX : null);
  const size = { seed, edges, regions, seconds, ratePerS };
  const begunMs = performance.now();
  const cpu = process.cpuUsage();
  let saidMs = begunMs;
  const result = await runAudit({ ...size, found: "" }, {}, (simulatedMs, events) => {
    if (performance.now() - saidMs < PROGRESS_EVERY_MS) return;
    saidMs = performance.now();
    note(`${(simulatedMs / 1000).toFixed(0)} s simulated, ${events} events`);
  });
  const { user, system } = process.cpuUsage(cpu);
  const tookMs = performance.now() - begunMs;
  const { auditor } = result.mesh;
  if (!values.json) {
    for (const line of auditLines(result, tookMs, (user + system) / 1000)) say(line);
  } else {
    const { trace, events, records, faults } = result;
    const counts = Object.fromEntries(auditor.counts);
    const report = { ...size, trace, events, requests: records.length, faults: faults.length };
    const cpuMs = (user + system) / 1000;
    say(
      JSON.stringify({ ...report, tookMs, cpuMs, violations: auditor.violations, counts }, null, 2),
    );
  }
  if (auditor.isClean) return;
  keepSeed({ ...size, found: [...auditor.counts.keys()].join(", ") });
  process.exitCode = 1;
}

async function compare(): Promise<void> {
  if (seconds < COMPARED_MIN_S) refuse(`A comparison needs ${COMPARED_MIN_S} seconds or more.`);
  const named = scenarioOf(values.scenario) ?? refuse(unknownScenario(values.scenario));
  const chosen = values.all ? scenarios : [named];
  const wanted: readonly PolicyName[] =
    values.all || values.compare ? policyNames : [policyOf(values.policy)];
  const panels: PicturePanel[] = [];
  const reports: unknown[] = [];
  for (const scenario of chosen) {
    const runs = await runAll(loaded(scenario), wanted);
    const standing = standingOf(runs);
    if (!values.json && standing !== null) say(`${verdictOf(standing)}\n`);
    const lines = runs.map(({ policy, ttftsMs }) => ({ name: policy, ttftsMs }));
    panels.push({ title: `${scenario.name}: ${scenario.what}`, lines });
    const policies = runs.map(({ ttftsMs: _, ...run }) => run);
    reports.push({ scenario: scenario.name, seed, seconds, standing, policies });
  }
  if (values.json) say(JSON.stringify(reports.length === 1 ? reports[0] : reports, null, 2));
  if (values.svg === undefined) return;
  writeFileSync(values.svg, drawPercentiles("Time to first token, simulated", panels));
  note(`drawn: ${values.svg}`);
}

async function runAll(scenario: Scenario, policies: readonly PolicyName[]): Promise<PolicyRun[]> {
  const count = numberOf("seeds", values.seeds);
  const seeds = Array.from({ length: count }, (_, at) => seed + at);
  const runs: PolicyRun[] = [];
  if (!values.json) say(`${scenario.name}: ${scenario.what}\n${sloLine}\n${headOfTable()}`);
  for (const policy of policies) {
    if (values.json) note(`${scenario.name}, ${policy}`);
    const run = await runPolicy(policy, { scenario, seeds, seconds });
    runs.push(run);
    if (!values.json) say(rowOf(run));
    if (run.violations > 0) {
      note(`${run.violations} audit violations with ${policy}`);
      process.exitCode = 1;
    }
  }
  return runs;
}

function loaded(scenario: Scenario): Scenario {
  if (values.utilisation === undefined) return scenario;
  return { ...scenario, utilisation: numberOf("utilisation", values.utilisation) };
}

function unknownScenario(name: string): string {
  const known = scenarios.map((each) => each.name).join(", ");
  return `There is no scenario ${name}; there are ${known}.`;
}

function policyOf(name: string): PolicyName {
  const found = policyNames.find((policy) => policy === name);
  if (found !== undefined) return found;
  return refuse(`There is no policy ${name}; there are ${policyNames.join(", ")}.`);
}

function numberOf(name: string, text: string): number {
  const number = Number(text);
  if (Number.isFinite(number) && number > 0) return number;
  return refuse(`--${name} takes a positive number, not ${JSON.stringify(text)}.`);
}

/** Reads the command line; whoever mistypes gets a sentence, not a stack. */
function read<T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (thrown) {
    return refuse((thrown as Error).message);
  }
}

function refuse(why: string): never {
  note(`${why} See npm run simulate -- --help.`);
  process.exit(2);
}
