// A process at the far end of a trunk, for tests that freeze or kill it. Prints its port.
import { systemClock } from "../../../runtime/clock.ts";
import { startGrpcServer } from "../../../runtime/grpc/server.ts";
import { silentLog } from "../../../runtime/log.ts";
import { trunkService } from "../../../runtime/trunk/server.ts";
import { pacedBackend } from "../../support/paced-backend.ts";

const log = silentLog();
const backend = pacedBackend({ edge: "peer", intervalMs: 5 });
const services = [trunkService(backend, { clock: systemClock, log })];
const server = await startGrpcServer({ host: "127.0.0.1", port: 0, services, log });
process.stdout.write(`${server.port}\n`);
// Whoever started it holds its stdin: when they are gone, it goes too.
process.stdin.on("close", () => process.exit(0)).resume();
