// `isthmus chat`: talks to a model through the nearest gateway, and says who answered and how fast.
import { createInterface } from "node:readline/promises";
import { Fault } from "../../proto/fault.ts";
import { type ChatTurn, streamChat } from "./chat-stream.ts";
import { type Command, type CommandScope, numberOption, readArgs } from "./command.ts";
import { checkedUrl, findServing } from "./mesh-file.ts";
import { nearestOf } from "./nearest-gateway.ts";
import { UsageError } from "./usage-error.ts";

const TURNS_MAX = 64;
const path = "isthmus chat";

const options = {
  dir: { type: "string" },
  url: { type: "string" },
  model: { type: "string" },
  system: { type: "string" },
  "max-tokens": { type: "string" },
  temperature: { type: "string" },
} as const;

export const chatCommand: Command = {
  name: "chat",
  summary: "Talks to a model; says which edge answered, and how fast.",
  usage: "[--model MODEL] [MESSAGE]",
  options: [
    "--model MODEL       which model (the first that is served)",
    "--url URL           a gateway or an edge; else the nearest gateway of mesh.json",
    "--dir DIR           folder of the local mesh with mesh.json; else the nearest .isthmus",
    "--system TEXT       what to tell the model first",
    "--max-tokens N      longest answer",
    "--temperature T     0 takes the likeliest token each time",
  ],
  examples: [
    'isthmus chat "play the next song"',
    "isthmus chat --model commands            # a conversation; Ctrl-D ends it",
  ],
  run,
};

async function run(args: readonly string[], scope: CommandScope): Promise<void> {
  const { values, positionals } = readArgs(args, path, options, ["[MESSAGE]"]);
  const maxTokens = numberOption(path, "max-tokens", values["max-tokens"]);
  const temperature = numberOption(path, "temperature", values.temperature);
  const isInteractive = positionals.length === 0 && process.stdin.isTTY === true;
  if (positionals.length === 0 && !isInteractive) {
    throw new UsageError(`${path}: MESSAGE is missing`, "Without a terminal there is no dialogue.");
  }
  const url =
    values.url === undefined
      ? await nearestOf(findServing({ ...values, cwd: scope.cwd, env: scope.env }), scope.signal)
      : checkedUrl(values.url, "--url");
  const model = values.model ?? (await firstModel(url, scope.signal));
  const request = { url, model, maxTokens, temperature };
  const turns: ChatTurn[] = [];
  if (values.system !== undefined) turns.push({ role: "system", content: values.system });
  if (!isInteractive) {
    turns.push({ role: "user", content: positionals[0] ?? "" });
    await streamChat(request, turns, scope);
    return;
  }
  await converse(request, turns, scope);
}

async function converse(
  request: Parameters<typeof streamChat>[0],
  turns: ChatTurn[],
  scope: CommandScope,
): Promise<void> {
  scope.terminal.print(`${request.model} at ${request.url}; Ctrl-D ends.`);
  const reader = createInterface({ input: process.stdin, output: process.stdout });
  reader.setPrompt("> ");
  reader.prompt();
  try {
    for await (const line of reader) {
      if (line.trim() !== "") {
        turns.push({ role: "user", content: line });
        const content = await streamChat(request, turns, scope);
        turns.push({ role: "assistant", content });
        if (turns.length > TURNS_MAX) turns.splice(turns[0]?.role === "system" ? 1 : 0, 2);
      }
      reader.prompt();
    }
  } finally {
    reader.close();
  }
}

async function firstModel(url: string, signal: AbortSignal): Promise<string> {
  const response = await fetch(`${url}/v1/models`, { signal }).catch((thrown: unknown) => {
    throw new Fault("unavailable", `${url} does not answer`, { cause: thrown });
  });
  const { data } = (await response.json()) as { data?: { id: string }[] };
  const id = data?.[0]?.id;
  if (id === undefined) throw new Fault("unavailable", `${url} serves no model yet`);
  return id;
}
