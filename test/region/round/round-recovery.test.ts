// What a region acknowledged it never loses and never counts twice, wherever it is killed.
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import {
  Bucket,
  RegionRoundStatusSchema,
  type RoundOffer,
  RoundOfferSchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { regionId, sha256 } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import type { RoundInput } from "../../../region/round/round-decision.ts";
import { RoundRunner } from "../../../region/round/round-runner.ts";
import { includedSeats } from "../../../region/round/round-state.ts";
import { statusOfRound } from "../../../region/round/round-status.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import { eventually } from "../../support/eventually.ts";
import { linkedNats } from "../../support/linked-nats.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { adapterOf, handIn, MODEL, offerOf, signedDelta, startRegion } from "./round-fixture.ts";

const { dir, nats, servers } = await linkedNats();
const edges = ["us-1", "us-2", "us-3"];
const keys = edges.map((edge) => openSigningKey(join(dir, `${edge}.pem`)));
const children = new Set<ChildProcessByStdio<Writable, Readable, null>>();

test.after.always(async () => {
  for (const child of children) child.kill("SIGKILL");
});

test("wherever the log is cut, acknowledged deltas are there and count once", async (t) => {
  const clock = new ManualClock(1_000);
  const options = { clock, perform: () => {} };
  const offer = offerOf({ deadlineMs: 100_000n, quorum: 2 });
  const manifests = edges.map((e, i) => signedDelta(offer, e, keys[i]!, adapterOf(i)).manifest);
  const deltas = edges.map((edge, i): RoundInput => {
    return { kind: "delta", edge, manifest: manifests[i]! };
  });
  const candidates = edges.map((edge) => ({ edge, keyMatches: true }));
  const whole = join(dir, "whole");
  const path = join(whole, "round.log");
  const runner = await RoundRunner.create(whole, { kind: "opened", atMs: 1_000, offer }, options);
  const openedBytes = statSync(path).size;
  await runner.step({ kind: "tick", candidates });
  const acknowledged: { edge: string; logBytes: number }[] = [];
  for (const [i, edge] of edges.entries()) {
    await runner.step(deltas[i]!);
    acknowledged.push({ edge, logBytes: statSync(path).size });
  }
  const expected = statusOfRound(runner.state, { region: "us", http: "" });
  await runner.close();
  const bytes = readFileSync(path);
  const torn = join(dir, "torn");
  mkdirSync(torn);
  // The log's own test cuts at every byte; here around each record's end, and anywhere.
  const random = seededRandom(5);
  const ends = [0, openedBytes, ...acknowledged.map(({ logBytes }) => logBytes)];
  const near = ends.flatMap((end) => [end - 1, end, end + 1]);
  const anywhere = Array.from({ length: 60 }, () => random.below(bytes.length));
  const sizes = [...near, ...anywhere].filter((size) => size >= 0 && size <= bytes.length);
  for (const size of sizes) {
    writeFileSync(join(torn, "round.log"), bytes.subarray(0, size));
    const again = await RoundRunner.recover(torn, options);
    if (size < openedBytes) {
      t.is(again, null);
      continue;
    }
    const here = includedSeats(again!.state).map(({ edge }) => edge);
    const owed = acknowledged.filter(({ logBytes }) => logBytes <= size).map(({ edge }) => edge);
    if (owed.some((edge) => !here.includes(edge))) t.fail(`${owed} of ${here} at ${size} bytes`);
    await again!.step({ kind: "tick", candidates });
    for (const input of [...deltas, ...deltas]) await again!.step(input);
    t.deepEqual(statusOfRound(again!.state, { region: "us", http: "" }), expected);
    await again!.close();
  }
});

test("a region that died between closing a round and summing it sums it afterwards", async (t) => {
  const regionDir = join(dir, "unsummed");
  const offer = offerOf({ campaign: "unsummed", quorum: 3 });
  const members = edges.map((edge, i) => {
    return { edge, models: [MODEL], publicKey: keys[i]!.publicKey };
  });
  const log = join(regionDir, "rounds/rounds/unsummed/1/round.log");
  const sizes = [0];
  const before = await startRegion(regionDir, nats, () => members);
  await before.rounds.offer(offer);
  for (const [i, edge] of edges.entries()) {
    sizes.push(statSync(log).size);
    await handIn(before.http, signedDelta(offer, edge, keys[i]!, adapterOf(i)));
  }
  const runner = before.rounds.round("unsummed", 1)!;
  const { partial } = await eventually("summed", () => runner.state.partial && runner.state);
  await before.stop();
  const bytes = readFileSync(log);
  // The last delta's record and `closed` stay, `summed` goes.
  const cut = bytes.lastIndexOf('{"kind":"summed"') - 8;
  t.true(cut > sizes.at(-1)!);
  writeFileSync(log, bytes.subarray(0, cut));
  rmSync(join(regionDir, "artifacts"), { recursive: true });
  const after = await startRegion(regionDir, nats, () => members);
  t.is(after.rounds.round("unsummed", 1)!.state.offer.campaign, "unsummed");
  const again = after.rounds.round("unsummed", 1)!;
  const state = await eventually("summed again", () => again.state.partial && again.state);
  t.deepEqual(state.partial, partial);
  t.is(after.store.size(sha256(partial!.artifact!.sha256)), Number(partial!.artifact!.bytes));
  await after.stop();
});

interface RegionProcess {
  readonly http: string;
  kill(): Promise<void>;
}

async function spawnRegion(regionDir: string): Promise<RegionProcess> {
  const members = edges.map((edge, i) => ({
    edge,
    models: [MODEL],
    publicKey: Buffer.from(keys[i]!.publicKey).toString("hex"),
  }));
  const config = JSON.stringify({ dir: regionDir, servers, members });
  const script = join(import.meta.dirname, "region-process.ts");
  const child = spawn(process.execPath, [script, config], { stdio: ["pipe", "pipe", "inherit"] });
  children.add(child);
  const lines = createInterface({ input: child.stdout });
  const [line] = (await once(lines, "line")) as [string];
  const kill = async () => {
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
    children.delete(child);
  };
  return { http: (JSON.parse(line) as { http: string }).http, kill };
}

const offerBy = async (offer: RoundOffer) => {
  const body = toBinary(RoundOfferSchema, offer);
  const answer = await nats.request(subjects.roundOffer(regionId("us")), body, 5000);
  return fromBinary(RegionRoundStatusSchema, answer);
};

/** One round, during which the region is killed `kills` times; the partial it ends with. */
async function roundWithKills(regionDir: string, kills: number, seed: number) {
  const random = seededRandom(seed);
  // Far away: on a busy machine each new process takes its time.
  const deadlineMs = BigInt(systemClock.now() + 1_800_000);
  const offer = offerOf({ campaign: "kills", quorum: 3, deadlineMs });
  const deltas = edges.map((e, i) =>
    signedDelta(offer, e, keys[i]!, adapterOf(i), { examples: i + 1 }),
  );
  let region = await spawnRegion(regionDir);
  await eventually("the offer is taken", () => offerBy(offer));
  const acknowledged = new Set<string>();
  let killed = 0;
  while (acknowledged.size < edges.length || killed < kills) {
    const i = random.below(edges.length);
    const upload = handIn(region.http, deltas[i]!).then(
      ({ status }) => status,
      () => "no answer",
    );
    if (killed < kills && random.next() < 0.6) {
      // Somewhere between the first byte and the answer, at the machine's own pace.
      if (random.next() < 0.5) await upload;
      await region.kill();
      killed++;
      region = await spawnRegion(regionDir);
      const { edges: outcomes } = await eventually("the round is back", () => offerBy(offer));
      for (const edge of acknowledged) {
        const bucket = outcomes.find((outcome) => outcome.edge === edge)?.bucket;
        if (bucket !== Bucket.INCLUDED) throw new Error(`${edge} was acknowledged, then lost`);
      }
    }
    const status = await upload;
    if (status === "included" || status === "duplicate") acknowledged.add(edges[i]!);
  }
  const done = await eventually("the round is done", async () => {
    const status = await offerBy(offer);
    return status.done && status;
  });
  const sha = done.partial!.artifact!.sha256;
  const stored = statSync(
    join(regionDir, `artifacts/objects/${sha}-${done.partial!.artifact!.bytes}`),
  );
  await region.kill();
  return { partial: done.partial!, storedBytes: stored.size };
}

test("killed again and again, a region ends with the partial of an undisturbed one", async (t) => {
  const calm = await roundWithKills(join(dir, "calm"), 0, 1);
  t.like(calm.partial, { weight: 6, count: 3, contributors: edges });
  const stormy = await roundWithKills(join(dir, "stormy"), 4, 2);
  t.deepEqual(stormy, calm);
});
