// `isthmus route explain`: where a request would go, and why not elsewhere, as its region sees it.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { Fault } from "../../proto/fault.ts";
import {
  type Command,
  type CommandScope,
  coordinatorOptionLines,
  coordinatorOptions,
  numberOption,
  readArgs,
} from "./command.ts";
import { CoordinatorClient } from "./coordinator-client.ts";
import { checkedUrl, findCoordinator } from "./mesh-file.ts";
import { printRoutes, type RouteExplanation } from "./route-tables.ts";
import { UsageError } from "./usage-error.ts";

const path = "isthmus route explain";
const TIMEOUT_MS = 10_000;
const PROMPT_TOKENS_DEFAULT = 64;

const options = {
  ...coordinatorOptions,
  url: { type: "string" },
  from: { type: "string" },
  model: { type: "string" },
  "prompt-file": { type: "string" },
  "prompt-tokens": { type: "string" },
  "max-tokens": { type: "string" },
  session: { type: "string" },
  tenant: { type: "string" },
  batch: { type: "boolean" },
  regions: { type: "string" },
  jurisdictions: { type: "string" },
  gpu: { type: "boolean" },
  json: { type: "boolean" },
} as const;

export const routeCommand: Command = {
  name: "route",
  summary: "How requests are routed.",
  subcommands: [
    {
      name: "explain",
      summary: "Shows every candidate for a request, each term of its prediction, and why it lost.",
      usage: "--model MODEL [--prompt-file FILE] [--from REGION] [--json]",
      options: [
        "--model MODEL       which model",
        "--prompt-file FILE  the prompt, so that what edges hold of it counts",
        "--prompt-tokens N   instead of a prompt: how long it is",
        "--max-tokens N      longest answer",
        "--from REGION       the region that is asked (the first that is reachable)",
        "--url URL           its gateway's address instead",
        "--session, --tenant NAME   of the request",
        "--batch             it is batch work",
        "--regions, --jurisdictions A,B   where it may be served",
        "--gpu               on a GPU only",
        ...coordinatorOptionLines,
        "--json              as JSON",
      ],
      examples: [
        "isthmus route explain --model commands --prompt-file prompt.txt --from eu",
        "isthmus route explain --model commands --prompt-tokens 2000 --regions eu",
      ],
      run: explain,
    },
  ],
};

type Values = ReturnType<typeof readArgs<typeof options>>["values"];

async function explain(args: readonly string[], scope: CommandScope): Promise<void> {
  const { values } = readArgs(args, path, options);
  if (values.model === undefined) throw new UsageError(`${path}: --model is missing`);
  const gateway = await gatewayOf(values, scope);
  const explanation = await ask(gateway, bodyOf(values, values.model, scope), scope.signal);
  if (values.json) scope.terminal.json(explanation);
  else printRoutes(explanation, scope.terminal);
}

async function gatewayOf(values: Values, scope: CommandScope): Promise<string> {
  if (values.url !== undefined) return checkedUrl(values.url, "--url");
  const client = new CoordinatorClient(findCoordinator({ ...values, ...scope }), scope.signal);
  const { regions } = await client.get<{
    regions: { region: string; http: string; reachable: boolean }[];
  }>("/v1/regions");
  const { from } = values;
  const found =
    from === undefined
      ? regions.find(({ reachable }) => reachable)
      : regions.find(({ region }) => region === from);
  if (found !== undefined) return found.http;
  const known = regions.map(({ region }) => region).join(", ") || "none";
  throw new Fault("not-found", `there is no region ${from ?? "in reach"} (known: ${known})`);
}

/** A chat's body, as the region's gateway would get it. */
function bodyOf(values: Values, model: string, { cwd }: CommandScope): object {
  const file = values["prompt-file"];
  const promptTokens = numberOption(path, "prompt-tokens", values["prompt-tokens"]);
  if (file !== undefined && promptTokens !== undefined) {
    throw new UsageError(`${path}: either --prompt-file or --prompt-tokens`);
  }
  const maxTokens = numberOption(path, "max-tokens", values["max-tokens"]);
  const list = (text: string | undefined) => text?.split(",").filter((name) => name !== "") ?? [];
  const policy = {
    regions: list(values.regions),
    jurisdictions: list(values.jurisdictions),
    gpu_required: values.gpu ?? false,
  };
  return {
    model,
    ...(file === undefined
      ? { prompt_tokens: promptTokens ?? PROMPT_TOKENS_DEFAULT }
      : { messages: [{ role: "user", content: read(cwd, file) }] }),
    ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
    isthmus: {
      ...(values.session === undefined ? {} : { session: values.session }),
      ...(values.tenant === undefined ? {} : { tenant: values.tenant }),
      ...{ priority: values.batch ? "batch" : "interactive", policy },
    },
  };
}

function read(cwd: string, file: string): string {
  try {
    return readFileSync(resolve(cwd, file), "utf8");
  } catch (thrown) {
    throw new UsageError(`${path}: ${file} can't be read: ${(thrown as Error).message}`);
  }
}

async function ask(gateway: string, body: object, signal: AbortSignal): Promise<RouteExplanation> {
  const response = await fetch(new URL("/v1/routes/explain", gateway), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  }).catch((thrown: unknown) => {
    throw new Fault("unavailable", `the gateway at ${gateway} does not answer`, { cause: thrown });
  });
  const answer = (await response.json()) as RouteExplanation & { error?: { message?: string } };
  if (response.ok) return answer;
  throw new Fault("invalid-argument", answer.error?.message ?? `HTTP ${response.status}`);
}
