// `npm run chaos`: streams at temperature 0 on a real local mesh while faults of every kind are
// dealt. Prints what came of them; exits 1 when a target is missed.
import { parseArgs } from "node:util";
import type { ChaosReport } from "./chaos-report.ts";
import { runChaos } from "./chaos-run.ts";
import { type FaultKind, faultKinds, isFaultKind } from "./fault-schedule.ts";

const EXIT_USAGE = 2;
const SECONDS_A_MINUTE = 60;
/** One of the three regions stays whole. */
const AT_ONCE_MAX = 2;

const helpText = `Streams through a local mesh while faults are dealt to it, and judges the answers.

Usage: npm run chaos -- [options]

  --minutes N      how long (default 5; may be a fraction)
  --seed N         which faults, in which order (default 1)
  --faults A,B,... kinds to deal (default all): ${faultKinds.join(", ")}
  --edges N        edges in each of the three regions (default 2)
  --at-once N      faults at the same time, in different regions (default 1, at most 2)
  --logs DIR       where to keep the logs of the mesh's processes
  --json           the report as JSON on stdout, progress on stderr
`;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "5" },
    seed: { type: "string", default: "1" },
    faults: { type: "string", default: faultKinds.join(",") },
    edges: { type: "string", default: "2" },
    "at-once": { type: "string", default: "1" },
    logs: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const write = (line: string): void => void process.stdout.write(`${line}\n`);
const note = (line: string): void => void process.stderr.write(`${line}\n`);

function numberOf(option: string, text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  note(`--${option}: "${text}" is no number above 0`);
  process.exit(EXIT_USAGE);
}

function kindsOf(text: string): FaultKind[] {
  const names = text.split(",").map((name) => name.trim());
  const wrong = names.find((name) => !isFaultKind(name));
  if (wrong === undefined) return names.filter(isFaultKind);
  note(`--faults: there is no "${wrong}"; there are ${faultKinds.join(", ")}`);
  process.exit(EXIT_USAGE);
}

function tell(report: ChaosReport): void {
  const { ttftMs, detectionMs, regionLossGapMs, audit } = report;
  const times = ({ count, p50, p99 }: ChaosReport["detectionMs"]) =>
    count === 0 ? "not measured" : `p50 ${p50} ms, p99 ${p99} ms (${count})`;
  const reasons = (counts: Record<string, number>) =>
    Object.entries(counts).map(([reason, count]) => `  ${count} × ${reason}`);
  const lines = [
    "",
    `requests      ${report.requests}, acknowledged ${report.acknowledged}, complete ${report.complete}`,
    ...reasons(report.failed),
    `refused       ${Object.values(report.refused).reduce((a, b) => a + b, 0)} for good, ` +
      `${report.retries} tries made again`,
    ...reasons(report.refused),
    `doors         ${report.fellWithTheirDoor} plain callers fell with their own gateway or edge`,
    `moved         ${report.moved} streams, ${report.moves} moves`,
    `causes        ${pairs(report.causes)}; versions ${pairs(report.versions)}`,
    `tokens        ${report.tokens}, lost ${report.lost}, doubled ${report.doubled}, ` +
      `truncated streams ${audit.truncated}, misfits ${report.misfits}`,
    `argmax        ${audit.streams} streams judged, ${audit.wrong} wrong, ` +
      `worst gap ${audit.worstGap.toFixed(4)} logits`,
    `identical     ${report.identicalShare} of all, ${report.identicalShareOfMoved} of the moved`,
    `TTFT          calm ${times(ttftMs.calm)}`,
    `              in faults ${times(ttftMs.disturbed)}`,
    `detection     ${times(detectionMs)}`,
    `region lost   next token ${times(regionLossGapMs)}`,
    "",
    "fault             dealt midway moved  detected p50/p99    next token p50/p99  whole again p50",
    ...report.faults.map(
      ({ kind, dealt, midway, moved, detectionMs: found, gapMs, recoveryMs }) =>
        `${kind.padEnd(17)} ${cell(dealt, 5)} ${cell(midway, 6)} ${cell(moved, 5)}  ` +
        `${cell(found.p50, 8)} ${cell(found.p99, 8)}   ${cell(gapMs.p50, 8)} ${cell(gapMs.p99, 8)}  ` +
        cell(recoveryMs.p50, 15),
    ),
    ...report.missing.map((kind) => `${kind.padEnd(17)} not offered by this mesh`),
    "",
    ...(report.stalls.length === 0 ? [] : ["longest waits for a token:"]),
    ...report.stalls.map(
      ({ ms, atToken, door, edge, moves, refusals, during }) =>
        `  ${cell(ms, 6)} ms at ${atToken}, ${door} by ${edge || "nobody"}, refused ${refusals} ` +
        `times; moves [${moves.join(", ")}]; during ${during.join(", ") || "nothing"}`,
    ),
    "",
    ...(report.missed.length === 0
      ? ["met: every target"]
      : report.missed.map((target) => `MISSED: ${target}`)),
  ];
  for (const line of lines) write(line);
}

function pairs(counts: Record<string, number>): string {
  const all = Object.entries(counts).map(([name, count]) => `${name} ${count}`);
  return all.join(", ") || "none";
}

function cell(value: number | null, width: number): string {
  return (value === null ? "-" : String(value)).padStart(width);
}

if (values.help) {
  write(helpText);
} else {
  const report = await runChaos({
    seconds: SECONDS_A_MINUTE * numberOf("minutes", values.minutes),
    seed: numberOf("seed", values.seed),
    kinds: kindsOf(values.faults),
    edges: numberOf("edges", values.edges),
    atOnce: Math.min(numberOf("at-once", values["at-once"]), AT_ONCE_MAX),
    ...(values.logs === undefined ? {} : { logDir: values.logs }),
    say: values.json ? note : write,
  });
  if (values.json) write(JSON.stringify(report, null, 2));
  else tell(report);
  process.exitCode = report.missed.length > 0 ? 1 : 0;
}
