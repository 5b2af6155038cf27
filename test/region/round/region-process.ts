// A region's rounds in a process of its own, for tests that kill it: config in argv, one line on
// stdout once it listens.
import { connectNats } from "../../../runtime/nats/connection.ts";
import { startRegion } from "./round-fixture.ts";

interface RegionProcessConfig {
  readonly dir: string;
  readonly servers: readonly string[];
  readonly members: readonly { edge: string; models: string[]; publicKey: string }[];
}

const { dir, servers, members } = JSON.parse(process.argv[2]!) as RegionProcessConfig;
const nats = await connectNats({ servers, name: "region process" });
const ready = members.map((member) => ({
  ...member,
  publicKey: Uint8Array.from(Buffer.from(member.publicKey, "hex")),
}));
const running = await startRegion(dir, nats, () => ready);
process.stdout.write(`${JSON.stringify({ http: running.http })}\n`);
// The test holds the other end: when it dies, so does this.
process.stdin.resume().on("end", () => process.exit());
