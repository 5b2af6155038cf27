// The command line of a rehearsal.
import { parseArgs } from "node:util";

/** What can be dealt, in the order of a whole rehearsal. */
export const faultNames = [
  "edge",
  "stop",
  "region",
  "nats",
  "partition",
  "cut",
  "round",
  "rollout",
] as const;
export type FaultName = (typeof faultNames)[number];

export interface Options {
  readonly faults: readonly FaultName[];
  readonly keep: boolean;
  readonly json: boolean;
  readonly build: boolean;
  readonly help: boolean;
}

export const helpText = `\
Rehearses failures on a mesh of three regions in containers, while callers stream.

Usage: deploy/rehearse [options]

  --faults A,B,...  which, in this order (default ${faultNames.join(",")}):
                    edge       SIGKILL to the busiest edge of us
                    stop       SIGTERM to the busiest edge of eu
                    region     SIGKILL to a coordinator of eu
                    nats       SIGKILL to both nats-servers of ap
                    partition  the WAN is taken out of eu's network
                    cut        all links of ap are cut
                    round      a federated round over all edges
                    rollout    another version for every edge, and back
  --keep            leave the mesh running, with its ports on 127.0.0.1
  --no-build        use the image "isthmus" (or ISTHMUS_IMAGE) as it is
  --json            the report as JSON on stdout, progress on stderr
  --help            this text

Needs a Docker engine (DOCKER_HOST is heeded) with compose, about 6 GB of memory, and 15 minutes on
two cores. Ends with 0 only if nothing acknowledged was lost and every stream ended complete; else
the containers' logs are in .isthmus/rehearsal-logs. Removes its containers and volumes.
`;

/** A wrong option; the message names it. */
export class OptionError extends Error {
  override readonly name = "OptionError";
}

/** Faults: OptionError. */
export function readOptions(args: readonly string[]): Options {
  const { values } = parse(args);
  return {
    faults: values.faults === undefined ? faultNames : faultsOf(values.faults),
    keep: values.keep ?? false,
    json: values.json ?? false,
    build: !(values["no-build"] ?? false),
    help: values.help ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        faults: { type: "string" },
        keep: { type: "boolean" },
        json: { type: "boolean" },
        "no-build": { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (thrown) {
    throw new OptionError(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

function faultsOf(text: string): FaultName[] {
  const names = text.split(",").map((name) => name.trim());
  return names.map((name) => {
    const found = faultNames.find((known) => known === name);
    if (found !== undefined) return found;
    throw new OptionError(`--faults: there is no "${name}"; there are ${faultNames.join(", ")}`);
  });
}
