// The last desired state on disk, so that an edge which starts with nobody above it serves what
// it served before.
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fromJsonString, toJsonString } from "@bufbuild/protobuf";
import { type DesiredState, DesiredStateSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Log } from "../../runtime/log.ts";
import { replaceFile } from "../../sync/delta/durable-file.ts";

const FILE_NAME = "desired.json";

export class DesiredFile {
  readonly #path: string;
  readonly #log: Log;

  constructor(dir: string, log: Log) {
    mkdirSync(dir, { recursive: true });
    this.#path = join(dir, FILE_NAME);
    this.#log = log;
  }

  /** Undefined when there is none, or none that can be read: it is told again anyway. */
  read(): DesiredState | undefined {
    let text: string;
    try {
      text = readFileSync(this.#path, "utf8");
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw thrown;
    }
    try {
      return fromJsonString(DesiredStateSchema, text, { ignoreUnknownFields: true });
    } catch (thrown) {
      this.#log.error({ path: this.#path, err: thrown }, "the stored desired state is damaged");
      return undefined;
    }
  }

  /** Durable when it returns. */
  write(desired: DesiredState): void {
    replaceFile(this.#path, new TextEncoder().encode(toJsonString(DesiredStateSchema, desired)));
  }
}
