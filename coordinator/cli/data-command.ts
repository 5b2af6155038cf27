// `isthmus data`: the examples that one edge learns from. They stay there: this command talks to
// the edge itself, on its own machine.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Command, type CommandScope, numberOption, readArgs } from "./command.ts";
import { EdgeClient, findEdge } from "./edge-client.ts";
import { bytesText, table } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";

interface Totals {
  readonly entries: number;
  readonly bytes: number;
}

interface Listing extends Totals {
  readonly has_more: boolean;
  readonly examples: readonly {
    readonly id: string;
    readonly model: string;
    readonly source: string;
    readonly split: string;
    readonly bytes: number;
    readonly created_ms: number;
    readonly learned_ms: number | null;
  }[];
}

const importPath = "isthmus data import";
const listPath = "isthmus data ls";
const removePath = "isthmus data rm";
const edgeOptions = { edge: { type: "string" }, dir: { type: "string" } } as const;
const edgeLines = [
  "--edge EDGE         its address on this machine (http://127.0.0.1:PORT), or its name in",
  "                    mesh.json; may be left out where there is one",
  "--dir DIR           folder of the local mesh with mesh.json; else the nearest .isthmus",
];

export const dataCommand: Command = {
  name: "data",
  summary: "Private examples of an edge: what it learns from, and nobody else sees.",
  subcommands: [
    {
      name: "import",
      summary: "Gives an edge examples, one {prompt, completion} a line.",
      usage: "FILE.jsonl [--model MODEL] [--edge EDGE]",
      options: [
        ...edgeLines,
        "--model MODEL       what they are for; may be left out where the edge serves one model",
        "The same example again changes nothing. A fixed fifth is kept for evaluation.",
      ],
      examples: ["isthmus data import answers.jsonl --model commands --edge us-1"],
      run: importFile,
    },
    {
      name: "ls",
      summary: "Lists what an edge has to learn from: ids, sizes and dates, never texts.",
      usage: "[--model MODEL] [--limit N] [--before ID] [--edge EDGE] [--json]",
      options: [
        ...edgeLines,
        "--model MODEL       only for this model",
        "--limit N           at most so many (100)",
        "--before ID         those older than this one",
        "--json              as JSON",
      ],
      examples: ["isthmus data ls --edge us-1"],
      run: list,
    },
    {
      name: "rm",
      summary: "Deletes an example for good.",
      usage: "ID [--edge EDGE]",
      options: edgeLines,
      examples: ["isthmus data rm import-0f3a --edge us-1"],
      run: remove,
    },
  ],
};

async function importFile(args: readonly string[], scope: CommandScope): Promise<void> {
  const options = { ...edgeOptions, model: { type: "string" } } as const;
  const { values, positionals } = readArgs(args, importPath, options, ["FILE.jsonl"]);
  const [file = ""] = positionals;
  const client = clientOf(importPath, values, scope);
  const body = readWhole(resolve(scope.cwd, file), file);
  const model = values.model ?? (await onlyModel(client));
  const path = `/v1/examples?model=${encodeURIComponent(model)}`;
  const { read, added, entries, bytes } = await client.request<
    Totals & { readonly read: number; readonly added: number }
  >("POST", path, body);
  const known = read - added > 0 ? `, ${read - added} it had already` : "";
  scope.terminal.print(`${added} examples for ${model}${known}; ${totalText({ entries, bytes })}`);
}

async function list(args: readonly string[], scope: CommandScope): Promise<void> {
  const options = {
    ...edgeOptions,
    model: { type: "string" },
    limit: { type: "string" },
    before: { type: "string" },
    json: { type: "boolean" },
  } as const;
  const { values } = readArgs(args, listPath, options);
  const query = new URLSearchParams();
  const limit = numberOption(listPath, "limit", values.limit);
  if (limit !== undefined) query.set("limit", String(limit));
  if (values.model !== undefined) query.set("model", values.model);
  if (values.before !== undefined) query.set("before", values.before);
  const client = clientOf(listPath, values, scope);
  const listing = await client.request<Listing>("GET", `/v1/examples?${query}`);
  const { terminal } = scope;
  if (values.json) {
    terminal.json(listing);
    return;
  }
  const rows = listing.examples.map((example) => [
    example.id,
    example.model,
    example.source,
    example.split,
    bytesText(example.bytes),
    dateText(example.created_ms),
    example.learned_ms === null ? "-" : dateText(example.learned_ms),
  ]);
  const header = ["id", "model", "from", "for", "size", "given", "learned"];
  terminal.print(table(header, rows));
  const last = listing.examples.at(-1);
  const more = listing.has_more && last ? `; older ones: --before ${last.id}` : "";
  terminal.print(`\n${totalText(listing)}${more}`);
}

async function remove(args: readonly string[], scope: CommandScope): Promise<void> {
  const { values, positionals } = readArgs(args, removePath, edgeOptions, ["ID"]);
  const [id = ""] = positionals;
  const client = clientOf(removePath, values, scope);
  await client.request("DELETE", `/v1/examples/${encodeURIComponent(id)}`);
  scope.terminal.print(`${id} is deleted`);
}

function clientOf(
  command: string,
  values: { readonly edge?: string | undefined; readonly dir?: string | undefined },
  scope: CommandScope,
): EdgeClient {
  return new EdgeClient(findEdge(command, values.edge, { ...values, ...scope }), scope.signal);
}

async function onlyModel(client: EdgeClient): Promise<string> {
  const { data } = await client.request<{ data: { id: string }[] }>("GET", "/v1/models");
  const [only] = data;
  if (only !== undefined && data.length === 1) return only.id;
  const ids = data.map(({ id }) => id).join(", ") || "it serves none now";
  throw new UsageError(`${importPath}: say with --model for which model (${ids})`);
}

/** Faults: UsageError for a file that can't be read. */
function readWhole(path: string, named: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw new UsageError(`${importPath}: can't read ${named}: ${why}`);
  }
}

function totalText({ entries, bytes }: Totals): string {
  return `the edge keeps ${entries} examples, ${bytesText(bytes)}`;
}

/** 2026-11-21 06:12 */
function dateText(ms: number): string {
  return new Date(ms).toISOString().slice(0, 16).replace("T", " ");
}
