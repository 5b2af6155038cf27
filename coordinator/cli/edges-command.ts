// `isthmus edges`: what is out there, and taking edges out of service.
import {
  type Command,
  type CommandScope,
  coordinatorOptionLines,
  coordinatorOptions,
  readArgs,
} from "./command.ts";
import { CoordinatorClient } from "./coordinator-client.ts";
import { drainCommand, undrainCommand } from "./edge-drain.ts";
import { findCoordinator } from "./mesh-file.ts";
import { bytesText, table } from "./terminal.ts";

interface EdgeRow {
  readonly region: string;
  readonly edge: string;
  readonly status: string;
  readonly alive: boolean;
  readonly http: string;
  readonly rssBytes: string;
  readonly training: boolean;
  readonly models: readonly {
    readonly version: string;
    readonly status: string;
    readonly active: number;
    readonly slots: number;
    readonly queued: number;
    readonly decodeTokensPerS: number;
  }[];
}

const listPath = "isthmus edges ls";
/** States that hold only while the region is heard. */
const fleeting = new Set(["ready", "suspect"]);

export const edgesCommand: Command = {
  name: "edges",
  summary: "Edges of every region.",
  subcommands: [
    {
      name: "ls",
      summary: "Lists edges: what each serves, how busy it is, where it listens.",
      usage: "[--region REGION] [--json]",
      options: [
        ...coordinatorOptionLines,
        "--region REGION     only this region's",
        "--json              as JSON",
      ],
      examples: ["isthmus edges ls", "isthmus edges ls --region eu --json"],
      run: list,
    },
    drainCommand,
    undrainCommand,
  ],
};

async function list(args: readonly string[], scope: CommandScope): Promise<void> {
  const options = {
    ...coordinatorOptions,
    json: { type: "boolean" },
    region: { type: "string" },
  } as const;
  const { values } = readArgs(args, listPath, options);
  const client = new CoordinatorClient(findCoordinator({ ...values, ...scope }), scope.signal);
  const all = await client.get<{ edges: EdgeRow[] }>("/v1/edges");
  const edges = all.edges.filter(({ region }) => !values.region || region === values.region);
  if (values.json) {
    scope.terminal.json(edges);
    return;
  }
  const rows = edges.map(({ region, edge, status, alive, http, rssBytes, training, models }) => [
    region,
    edge,
    `${isKnown(status, alive) ? status : "out of reach"}${training ? ", training" : ""}`,
    models.map((model) => `${model.version} ${stateName(model.status)}`).join(", ") || "-",
    models.map(({ active, slots }) => `${active}/${slots}`).join(", "),
    models.map(({ decodeTokensPerS }) => decodeTokensPerS.toFixed(0)).join(", "),
    bytesText(Number(rssBytes)),
    http,
  ]);
  const header = ["region", "edge", "status", "models", "slots", "tok/s", "memory", "http"];
  scope.terminal.print(table(header, rows));
}

/** Whether its state can be told although its region may be silent. */
function isKnown(status: string, alive: boolean): boolean {
  return alive || !fleeting.has(status);
}

/** MODEL_STATUS_READY → ready. */
function stateName(status: string): string {
  return status.replace("MODEL_STATUS_", "").toLowerCase();
}
