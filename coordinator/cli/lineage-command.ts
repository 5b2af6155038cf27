// `isthmus models lineage`, `rebuild` and `merge`: whose deltas are in a version, the version
// without some of them, and the version as one file.
import { resolve } from "node:path";
import type { LineageView } from "../api/lineage-routes.ts";
import type { VersionRecord } from "../catalogue/model-record.ts";
import {
  type Command,
  type CommandScope,
  coordinatorOptionLines,
  coordinatorOptions,
  readArgs,
} from "./command.ts";
import { upload } from "./model-publish.ts";
import { clientOf, modelPath } from "./models-client.ts";
import { optionLine } from "./round-knobs.ts";
import { evaluationsText } from "./round-report.ts";
import { table } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";

/** Regions sum again, and large models take their time. */
const WORK_TIMEOUT_MS = 30 * 60_000;

export const lineageCommands: readonly Command[] = [
  {
    name: "lineage",
    summary: "Tells which rounds led to a version, and which edges' deltas are in it.",
    usage: "MODEL VERSION [--json]",
    options: [...coordinatorOptionLines, "--json              as JSON"],
    examples: ["isthmus models lineage commands 11"],
    run: lineage,
  },
  {
    name: "rebuild",
    summary: "Makes a version again from the kept deltas, without those of some edges.",
    usage: "MODEL VERSION --without REGION/EDGE[,...]",
    options: [...coordinatorOptionLines, optionLine("--without NAMES", "edges to take out")],
    examples: ["isthmus models rebuild commands 11 --without eu/eu-1"],
    run: rebuild,
  },
  {
    name: "merge",
    summary: "Makes a version's adapters part of the weights, and quantizes those anew.",
    usage: "MODEL VERSION [--quantize f32|f16|q8_0|q4_0] [--master FILE]",
    options: [
      ...coordinatorOptionLines,
      optionLine("--quantize TYPE", "of the new file (q8_0)"),
      optionLine("--master FILE", "the model in full precision, if it was published without"),
    ],
    examples: ["isthmus models merge commands 11 --quantize q8_0"],
    run: merge,
  },
];

async function lineage(args: readonly string[], scope: CommandScope): Promise<void> {
  const options = { ...coordinatorOptions, json: { type: "boolean" } } as const;
  const names = ["MODEL", "VERSION"];
  const { values, positionals } = readArgs(args, "isthmus models lineage", options, names);
  const view = await clientOf(values, scope).get<LineageView>(`${pathOf(positionals)}/lineage`);
  const { terminal } = scope;
  if (values.json) {
    terminal.json(view);
    return;
  }
  const { version, rounds, contributors, without } = view;
  terminal.print(
    `${version.version}: ${version.verdict}${version.reason && `, ${version.reason}`}`,
  );
  if (without.length > 0) terminal.print(`without ${without.join(", ")}`);
  const steps = rounds.map(({ version: name, origin, verdict, evaluations }) => {
    const by = origin.kind === "round" ? `${origin.campaign} round ${origin.round}` : "";
    return [name, by, verdict, evaluationsText(evaluations)];
  });
  if (steps.length === 0) return;
  terminal.print(`\n${table(["version", "round", "verdict", "exact match"], steps)}`);
  const edges = contributors.map(({ edge, rounds: by }) => [
    edge,
    String(by.length),
    by.join(", "),
  ]);
  terminal.print(`\n${table(["edge", "rounds", "which"], edges)}`);
}

async function rebuild(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus models rebuild";
  const options = { ...coordinatorOptions, without: { type: "string" } } as const;
  const { values, positionals } = readArgs(args, path, options, ["MODEL", "VERSION"]);
  if (values.without === undefined) throw new UsageError(`${path}: --without is missing`);
  const without = values.without.split(",").map((name) => name.trim());
  await make(`${pathOf(positionals)}/rebuild`, { without }, values, scope);
}

async function merge(args: readonly string[], scope: CommandScope): Promise<void> {
  const texts = { quantize: { type: "string" }, master: { type: "string" } } as const;
  const options = { ...coordinatorOptions, ...texts };
  const names = ["MODEL", "VERSION"];
  const { values, positionals } = readArgs(args, "isthmus models merge", options, names);
  const quantization = values.quantize ?? "q8_0";
  const path = values.master && resolve(scope.cwd, values.master);
  const master = path ? { master: await upload(path, clientOf(values, scope), scope) } : {};
  await make(`${pathOf(positionals)}/merge`, { quantization, ...master }, values, scope);
}

async function make(
  path: string,
  body: object,
  values: Parameters<typeof clientOf>[0],
  scope: CommandScope,
): Promise<void> {
  const client = clientOf(values, scope);
  const { version, model } = await client.post<VersionRecord>(path, body, WORK_TIMEOUT_MS);
  scope.terminal.print(`${version} is there: isthmus models promote ${model} ${version}`);
}

function pathOf([model = "", version = ""]: readonly string[]): string {
  return `${modelPath(model)}/versions/${encodeURIComponent(version)}`;
}
