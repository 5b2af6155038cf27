// The command line of `npm start`, read into options for the launcher.
import { parseArgs } from "node:util";
import type { MeshShape } from "./layout.ts";
import { UsageError } from "./usage-error.ts";

export const defaultShape: MeshShape = {
  dir: ".isthmus",
  regions: ["us", "eu", "ap"],
  edges: 2,
  portBase: 8400,
};

export interface CommandLine extends MeshShape {
  readonly model: string | undefined;
  readonly restart: boolean;
  readonly help: boolean;
}

export const helpText = `Starts a mesh on this machine: servers, coordinator, regions, edges.

Usage: npm start -- [options]

  --dir DIR          state: logs, keys, models, JetStream data (default ${defaultShape.dir})
  --regions A,B,...  names of the regions (default ${defaultShape.regions.join(",")})
  --edges N          edges in each region (default ${defaultShape.edges})
  --model MODEL      a GGUF to serve in place of the demo model: a path, a URL,
                     or hf:owner/repo/file
  --port-base N      first port (default ${defaultShape.portBase}): the coordinator's; each region
                     takes the next 50: HTTP +0, gRPC +1, nats-servers +2 to +7, edges from +10
  --wan              put an emulated wide-area network between the regions: us-eu 80 ms,
                     eu-ap 160 ms, us-ap 140 ms; see \`npx isthmus wan --help\`
  --restart          start a process again that ended by itself or was killed
  --help             this text

Ctrl-C stops everything; a second one stops it at once. State stays in DIR for the next start.
`;

/** Reads the arguments. Faults: UsageError, naming the option. */
export function readCommandLine(args: readonly string[]): CommandLine {
  const values = parse(args);
  return {
    dir: filled("--dir", values.dir) ?? defaultShape.dir,
    regions:
      values.regions === undefined
        ? defaultShape.regions
        : values.regions.split(",").map((name) => name.trim()),
    edges: wholeNumber("--edges", values.edges) ?? defaultShape.edges,
    portBase: wholeNumber("--port-base", values["port-base"]) ?? defaultShape.portBase,
    model: filled("--model", values.model),
    restart: values.restart ?? false,
    wan: values.wan ?? false,
    help: values.help ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    const options = {
      dir: { type: "string" },
      regions: { type: "string" },
      edges: { type: "string" },
      model: { type: "string" },
      "port-base": { type: "string" },
      restart: { type: "boolean" },
      wan: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    } as const;
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function filled(option: string, text: string | undefined): string | undefined {
  if (text === "") throw new UsageError(`${option}: needs a value`);
  return text;
}

function wholeNumber(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${option}: "${text}" is no whole number`);
  return Number(text);
}
