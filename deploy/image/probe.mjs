// Health check of a container: asks one URL, ends with 0 when the answer is 200.
import { get } from "node:http";

const TIMEOUT_MS = 3000;

const request = get(process.argv[2], { timeout: TIMEOUT_MS }, (response) => {
  response.resume();
  process.exit(response.statusCode === 200 ? 0 : 1);
});
request.on("timeout", () => process.exit(1));
request.on("error", () => process.exit(1));
