// All commands of `isthmus`.
import { chatCommand } from "./chat-command.ts";
import type { Command } from "./command.ts";
import { dataCommand } from "./data-command.ts";
import { edgesCommand } from "./edges-command.ts";
import { modelsCommand } from "./models-command.ts";
import { roundsCommand } from "./rounds-command.ts";
import { routeCommand } from "./route-command.ts";
import { statusCommand } from "./status-command.ts";
import { wanCommand } from "./wan-command.ts";

export const commands: Command = {
  name: "isthmus",
  summary: "Operates an inference mesh: models, edges, federated rounds.",
  usage: "COMMAND [ARGUMENTS]",
  subcommands: [
    statusCommand,
    modelsCommand,
    edgesCommand,
    dataCommand,
    roundsCommand,
    routeCommand,
    chatCommand,
    wanCommand,
  ],
  examples: [
    "isthmus status",
    "isthmus models publish llama --file ./llama-q4.gguf",
    "isthmus rounds start commands --rounds 10 --wait",
    "isthmus route explain --model commands --from eu",
    'isthmus chat "play the next song"',
  ],
};
