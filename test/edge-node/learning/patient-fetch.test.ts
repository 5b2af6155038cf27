// A start that can't be had just now is asked for again, until the round is over.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { fetchPatiently } from "../../../edge-node/learning/patient-fetch.ts";
import { Fault } from "../../../proto/fault.ts";
import { ArtifactSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { eventually } from "../../support/eventually.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const artifact = create(ArtifactSchema, { sha256: "a".repeat(64), bytes: 1n });

function fetching(faults: readonly Fault[], lastsMs = 10_000) {
  const clock = new ManualClock();
  const abort = new AbortController();
  let tries = 0;
  const path = fetchPatiently(artifact, {
    clock,
    deadlineMs: clock.now() + lastsMs,
    signal: abort.signal,
    fetchArtifact: async () => {
      tries += 1;
      const fault = faults[tries - 1];
      if (fault !== undefined) throw fault;
      return "here";
    },
  });
  path.catch(() => undefined);
  const wait = async (rounds: number) => {
    for (let i = 0; i < rounds; i += 1) {
      await eventually("it waits", () => clock.timers > 0);
      clock.advance(1_000);
    }
  };
  return { path, abort, wait, tries: () => tries };
}

const away = () => new Fault("unavailable", "answered 503");

test("what is away for a while is there in the end", async (t) => {
  const { path, wait, tries } = fetching([away(), away(), away()]);
  await wait(3);
  t.is(await path, "here");
  t.is(tries(), 4);
});

test("past the round's deadline nobody asks any more", async (t) => {
  const { path, wait, tries } = fetching(Array.from({ length: 20 }, away), 5_000);
  await wait(4);
  await t.throwsAsync(path, { message: "answered 503" });
  t.is(tries(), 5);
});

test("what no retry mends fails at once; a round that is given up ends the waiting", async (t) => {
  const broken = fetching([new Fault("invalid-argument", "it hashes to something else")]);
  await t.throwsAsync(broken.path, { message: "it hashes to something else" });
  t.is(broken.tries(), 1);
  const given = fetching([away(), away()]);
  await given.wait(1);
  given.abort.abort();
  const { code } = (await t.throwsAsync(given.path)) as Fault;
  t.is(code, "cancelled");
});
