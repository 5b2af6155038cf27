// A process that pulls one artifact, so that artifact-transfer.test.ts can kill it midway.
// Arguments: folder, source, sha256, bytes. Prints each progress, then "done".
import { sha256 } from "../../../proto/ids.ts";
import { pullArtifact } from "../../../sync/artifact/artifact-pull.ts";
import { createArtifactStore } from "../../../sync/artifact/artifact-store.ts";

const [dir = "", source = "", name = "", bytes = "0"] = process.argv.slice(2);
const store = createArtifactStore({ dir });
await pullArtifact({ sha256: sha256(name), bytes: Number(bytes) }, [source], store, {
  onProgress: (at) => process.stdout.write(`${at}\n`),
});
process.stdout.write("done\n");
