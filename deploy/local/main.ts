// `npm start`.
import { runLauncher } from "./launcher.ts";

await runLauncher(process.argv.slice(2));
