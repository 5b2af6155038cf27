// What most tests around NATS need: a real nats-server, a link to it, and a folder.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { connectNats, type NatsLink } from "../../runtime/nats/connection.ts";
import { startNatsServer } from "./nats-topology.ts";

export interface LinkedNats {
  readonly nats: NatsLink;
  /** Of the server, for processes that link themselves. */
  readonly servers: readonly string[];
  /** Empty at first; goes with the server after the file's last test. */
  readonly dir: string;
}

/** To be awaited once at the top of a test file, before it declares a test. */
export async function linkedNats(): Promise<LinkedNats> {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-test-"));
  await using opened = new AsyncDisposableStack();
  opened.defer(() => rmSync(dir, { recursive: true, force: true }));
  const servers = opened.use(await startNatsServer()).urls("central");
  const nats = opened.use(await connectNats({ servers, name: "test" }));
  const kept = opened.move();
  // Declared last: once it has a hook, ava takes no declarations later than at once.
  test.after.always(() => kept.disposeAsync());
  return { nats, servers, dir };
}
