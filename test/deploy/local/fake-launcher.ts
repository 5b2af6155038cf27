// The launcher's command line with fake roles, to be run as a process.
import { runLauncher } from "../../../deploy/local/launcher.ts";
import { fakeRole } from "./fake-mesh.ts";

await runLauncher(process.argv.slice(2), {
  programs: { coordinator: fakeRole, region: fakeRole, "edge-node": fakeRole },
  seed: false,
});
