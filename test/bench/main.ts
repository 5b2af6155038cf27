// `npm run bench`: every figure as a ratio against something in the same run, or as a distribution.
// Prints as it goes, ends with the targets, and exits 1 when one is missed.
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { benchDecode } from "./decode.ts";
import { measureFrontends } from "./frontend.ts";
import { benchLatency } from "./latency.ts";

const help = `Usage: npm run bench -- [options]

  --only SECTION           decode, latency or frontends             (default: all three)
  --turns N                measured turns of each decode case       (default 5)
  --requests N             requests of each latency case            (default 200)
  --threads N              engine threads                           (default: cores - 1)
  --llama-server PATH      also compare with this llama-server
  --output FILE            write the figures as JSON too
  --help                   this text
`;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    turns: { type: "string", default: "5" },
    requests: { type: "string", default: "200" },
    threads: { type: "string", default: String(Math.max(1, availableParallelism() - 1)) },
    "llama-server": { type: "string" },
    output: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  say(help);
  process.exit(0);
}

const wants = (section: string) => values.only === undefined || values.only === section;
const decode = wants("decode")
  ? await benchDecode(
      {
        turns: Number(values.turns),
        threads: Number(values.threads),
        llamaServer: values["llama-server"],
      },
      say,
    )
  : [];
const latency = wants("latency")
  ? await benchLatency({ requests: Number(values.requests), concurrency: 8 }, say)
  : null;
if (wants("frontends")) {
  for await (const cost of measureFrontends()) {
    say(
      `${cost.bench}: ${cost.cpuMicrosPerToken} µs of CPU a token, ${cost.ratio} of the bare ` +
        `library's ${cost.bareCpuMicrosPerToken}`,
    );
  }
}

say("");
let missed = 0;
for (const { model, streams, against, ratio, target } of decode) {
  const isMet = ratio >= target;
  if (!isMet) missed += 1;
  const verdict = isMet ? "met" : "MISSED";
  say(
    `${verdict}: ${model}, ${streams} stream(s), ${ratio.toFixed(2)} of the ${against}, ` +
      `target ${target}`,
  );
}
if (values.output !== undefined) {
  mkdirSync(dirname(values.output), { recursive: true });
  writeFileSync(values.output, JSON.stringify({ decode, latency }, null, 2));
}
process.exit(missed > 0 ? 1 : 0);
