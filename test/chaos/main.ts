// `npm run chaos`: streams at temperature 0 on a real local mesh while faults of every kind are
// dealt. Prints what came of them; exits 1 when a target is missed.
import { parseArgs } from "node:util";
import { runChaos } from "./chaos-run.ts";
import { type FaultKind, faultKinds, isFaultKind } from "./fault-schedule.ts";
import { reportText } from "./report-text.ts";

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
  write(values.json ? JSON.stringify(report, null, 2) : `\n${reportText(report)}`);
  process.exitCode = report.missed.length > 0 ? 1 : 0;
}
