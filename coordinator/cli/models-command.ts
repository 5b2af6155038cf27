// `isthmus models`: list, publish, promote, roll out, roll back.
import { Fault } from "../../proto/fault.ts";
import { systemClock } from "../../runtime/clock.ts";
import { pause } from "../../sync/artifact/pause.ts";
import type { ModelRecord, VersionRecord } from "../catalogue/model-record.ts";
import type { RolloutProgress } from "../rollout/rollout-progress.ts";
import {
  type Command,
  type CommandScope,
  coordinatorOptionLines,
  coordinatorOptions,
  numberOption,
  readArgs,
} from "./command.ts";
import type { CoordinatorClient } from "./coordinator-client.ts";
import { lineageCommands } from "./lineage-command.ts";
import { publishModel } from "./model-publish.ts";
import { clientOf, modelPath } from "./models-client.ts";
import { privacyCommand } from "./privacy-command.ts";
import { promoteCommand, rolloutCommand } from "./promote-command.ts";
import { evaluationsText } from "./round-report.ts";
import { rolloutText } from "./status-command.ts";
import { table } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";

type ModelView = ModelRecord & { readonly rollout: RolloutProgress | null };

const WAIT_DEFAULT_S = 120;
const LOOK_MS = 500;

const waitOptions = {
  ...coordinatorOptions,
  wait: { type: "boolean" },
  timeout: { type: "string" },
} as const;
const waitLines = [
  ...coordinatorOptionLines,
  "--wait              until every edge serves it",
  `--timeout SECONDS   how long to wait (${WAIT_DEFAULT_S})`,
];

export const modelsCommand: Command = {
  name: "models",
  summary: "Models, their versions, and which one is served.",
  subcommands: [
    {
      name: "ls",
      summary: "Lists models, or one model's versions with their lineage.",
      usage: "[MODEL] [--json]",
      options: [...coordinatorOptionLines, "--json              as JSON"],
      examples: ["isthmus models ls", "isthmus models ls commands"],
      run: list,
    },
    {
      name: "publish",
      summary: "Uploads a GGUF file and publishes it as a model's next version.",
      usage: "MODEL --file PATH|URL|hf:OWNER/REPO/FILE [--adapter FILE] [--heldout FILE] [--wait]",
      options: [
        ...waitLines,
        "--file SOURCE       a path, a URL, or hf:owner/repo/file",
        "--adapter FILE      a GGUF adapter to serve on it",
        "--master FILE       the same model in full precision, which versions are merged into",
        "--heldout FILE      public examples (JSONL) that prove each federated round harmless",
        "--replay FILE       public examples (JSONL) that edges rehearse while they train",
      ],
      examples: [
        "isthmus models publish llama --file ./llama-3.2-1b-q4_0.gguf",
        "isthmus models publish qwen --file hf:Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf",
      ],
      run: publish,
    },
    promoteCommand,
    rolloutCommand,
    ...lineageCommands,
    {
      name: "rollout",
      summary: "Makes a version the one that every edge serves, at once and unproven.",
      usage: "MODEL VERSION [--force] [--wait]",
      options: [...waitLines, "--force             although the version was rejected"],
      examples: ["isthmus models rollout commands 3 --wait"],
      run: rollout,
    },
    {
      name: "rollback",
      summary: "Takes back what canaries try; else returns to the version served before.",
      usage: "MODEL [--wait]",
      options: waitLines,
      examples: ["isthmus models rollback commands --wait"],
      run: rollback,
    },
    privacyCommand,
  ],
};

async function list(args: readonly string[], scope: CommandScope): Promise<void> {
  const options = { ...coordinatorOptions, json: { type: "boolean" } } as const;
  const { values, positionals } = readArgs(args, "isthmus models ls", options, ["[MODEL]"]);
  const client = clientOf(values, scope);
  const [name] = positionals;
  if (name !== undefined) {
    await listVersions(client, name, values.json ?? false, scope);
    return;
  }
  const { models } = await client.get<{ models: ModelView[] }>("/v1/models");
  if (values.json) {
    scope.terminal.json(models);
    return;
  }
  const rows = models.map(({ model, served, versions, rollout: progress, heldout }) => {
    return [model, served ?? "-", String(versions), rolloutText(progress), heldout ? "yes" : "no"];
  });
  scope.terminal.print(table(["model", "served", "versions", "edges", "can be trained"], rows));
}

async function listVersions(
  client: CoordinatorClient,
  name: string,
  asJson: boolean,
  { terminal }: CommandScope,
): Promise<void> {
  type Detail = ModelView & { readonly lineage: readonly VersionRecord[] };
  const model = await client.get<Detail>(modelPath(name));
  if (asJson) {
    terminal.json(model);
    return;
  }
  const rows = model.lineage.map((version) => [
    version.version === model.served ? `${version.version} *` : version.version,
    version.parent ?? "-",
    originText(version),
    version.verdict,
    evaluationsText(version.evaluations),
    version.base.name,
  ]);
  terminal.print(table(["version", "parent", "from", "verdict", "exact match", "base"], rows));
  terminal.print("\n* served");
}

async function publish(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus models publish";
  const options = {
    ...waitOptions,
    file: { type: "string" },
    adapter: { type: "string" },
    master: { type: "string" },
    heldout: { type: "string" },
    replay: { type: "string" },
  } as const;
  const { values, positionals } = readArgs(args, path, options, ["MODEL"]);
  const [model = ""] = positionals;
  if (values.file === undefined) throw new UsageError(`${path}: --file is missing`);
  const client = clientOf(values, scope);
  const { file, adapter, master, heldout, replay } = values;
  const files = { model, file, adapter, master, heldout, replay };
  const version = await publishModel(files, client, scope);
  scope.terminal.print(`published ${version}`);
  const { served } = await client.get<ModelView>(modelPath(model));
  if (served !== version) {
    scope.terminal.print(`${served} is still served: isthmus models promote ${model} ${version}`);
  } else if (values.wait) {
    await waitForRollout(client, model, timeoutMsOf(path, values.timeout), scope);
  }
}

async function rollout(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus models rollout";
  const options = { ...waitOptions, force: { type: "boolean" } } as const;
  const { values, positionals } = readArgs(args, path, options, ["MODEL", "VERSION"]);
  const [model = "", version = ""] = positionals;
  const timeoutMs = timeoutMsOf(path, values.timeout);
  const client = clientOf(values, scope);
  const body = { version, force: values.force ?? false };
  const { served } = await client.post<ModelView>(`${modelPath(model)}/rollout`, body);
  scope.terminal.print(`${served} is to be served`);
  if (values.wait) await waitForRollout(client, model, timeoutMs, scope);
}

async function rollback(args: readonly string[], scope: CommandScope): Promise<void> {
  const path = "isthmus models rollback";
  const { values, positionals } = readArgs(args, path, waitOptions, ["MODEL"]);
  const [model = ""] = positionals;
  const timeoutMs = timeoutMsOf(path, values.timeout);
  const client = clientOf(values, scope);
  const { served } = await client.post<ModelView>(`${modelPath(model)}/rollback`, {});
  scope.terminal.print(`${served} is to be served again`);
  if (values.wait) await waitForRollout(client, model, timeoutMs, scope);
}

async function waitForRollout(
  client: CoordinatorClient,
  model: string,
  timeoutMs: number,
  { terminal, signal }: CommandScope,
): Promise<void> {
  const untilMs = systemClock.monotonicMs() + timeoutMs;
  for (;;) {
    const { rollout: progress, served } = await client.get<ModelView>(modelPath(model));
    const text = `${served}: ${rolloutText(progress)}`;
    terminal.progress(text, text);
    if (progress !== null && progress.waiting.length === 0 && progress.serving.length > 0) {
      terminal.print(text);
      if (progress.failed.length === 0) return;
      const why = progress.failed.map(({ edge, reason }) => `${edge}: ${reason}`).join("; ");
      throw new Fault("failed-precondition", `not every edge serves ${served}: ${why}`);
    }
    if (systemClock.monotonicMs() > untilMs) {
      throw new Fault("deadline-exceeded", `still waiting for ${progress?.waiting.join(", ")}`);
    }
    await pause(systemClock, LOOK_MS, signal);
  }
}

function timeoutMsOf(path: string, text: string | undefined): number {
  return 1000 * (numberOption(path, "timeout", text) ?? WAIT_DEFAULT_S);
}

function originText({ origin }: VersionRecord): string {
  if (origin.kind === "published") return "published";
  if (origin.kind === "rebuilt") return `${origin.from} without ${origin.without.join(", ")}`;
  if (origin.kind === "merged") return `${origin.from} as ${origin.quantization}`;
  return `${origin.campaign} round ${origin.round}, ${origin.contributors.length} edges`;
}
