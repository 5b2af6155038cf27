// The region's state machine against real parties: whoever falls silent at whatever stage, in
// whatever order answers come, it ends with the exact sum or says why it can't.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import fc from "fast-check";
import {
  type MaskCommand,
  MaskCommandSchema,
  type MaskSecrets,
} from "../../../proto/gen/isthmus/v1/secagg_pb.ts";
import type { RandomBytes } from "../../../runtime/random.ts";
import { addWords } from "../../../sync/secagg/fixed-point.ts";
import {
  asksOf,
  type MaskingInput,
  type MaskingState,
  STAGE_MAX_MS,
  startMasking,
  stepMasking,
  unmaskingOf,
} from "../../../sync/secagg/masking-collector.ts";
import {
  enterMasking,
  isAgreed,
  maskWords,
  openShares,
  receiveShares,
  shareSecrets,
} from "../../../sync/secagg/masking-party.ts";
import { removeMasks } from "../../../sync/secagg/unmasking.ts";
import { place, seededSource, signingKey } from "./masking-group.ts";

const stages = ["join", "roster", "inbox", "delta", "unmask", "never"] as const;
type Stage = (typeof stages)[number];

const key = signingKey();
const wordsOf = (edge: string) => Uint32Array.of(edge.charCodeAt(5) * 1_000_003, 0xffffffff, 5);

/** A region and its edges, each of which falls silent from some stage on. */
class World {
  state: MaskingState = startMasking(place);
  readonly inputs: { readonly input: MaskingInput; readonly nowMs: number }[] = [];
  readonly secrets = new Map<string, MaskSecrets>();
  nowMs = 0;
  readonly #silentFrom: ReadonlyMap<string, Stage>;
  readonly #random: RandomBytes;

  constructor(silentFrom: ReadonlyMap<string, Stage>, seed: number) {
    this.#silentFrom = silentFrom;
    this.#random = seededSource(seed);
  }

  input(input: MaskingInput): void {
    this.inputs.push({ input, nowMs: this.nowMs });
    this.state = stepMasking(this.state, input, this.nowMs);
  }

  /** Answers until nobody answers any more, then lets a stage pass; until masks are agreed. */
  settle(): void {
    for (let i = 0; i < 200; i++) {
      const asks = [...asksOf(this.state)].filter(([edge, step]) => {
        return this.#speaks(edge, step.case as Stage);
      });
      const pick = asks[(this.#random(1)[0] ?? 0) % Math.max(1, asks.length)];
      if (pick) this.#answer(...pick);
      else if (asksOf(this.state).size > 0 && this.state.phase !== "masking") {
        this.nowMs += STAGE_MAX_MS;
        this.input({ kind: "tick" });
      } else break;
    }
  }

  /** Edges that hand a masked delta in. */
  get uploaders(): string[] {
    return [...this.secrets].flatMap(([edge, secrets]) => {
      return isAgreed(secrets) && this.#speaks(edge, "delta") ? [edge] : [];
    });
  }

  #speaks(edge: string, stage: Stage): boolean {
    return stages.indexOf(stage) < stages.indexOf(this.#silentFrom.get(edge) ?? "never");
  }

  #answer(edge: string, step: MaskCommand["step"]): void {
    // Over the wire and back.
    const command = create(MaskCommandSchema, { step });
    const told = fromBinary(MaskCommandSchema, toBinary(MaskCommandSchema, command)).step;
    switch (told.case) {
      case "join": {
        const fresh = enterMasking({ ...place, edge }, key, this.#random);
        this.secrets.set(edge, fresh);
        this.input({ kind: "keys", edge, keys: fresh.keys! });
        break;
      }
      case "roster": {
        const { members } = told.value;
        const shared = shareSecrets(this.secrets.get(edge)!, members, this.#random);
        this.secrets.set(edge, shared);
        this.input({ kind: "shares", edge, shares: shared.shares! });
        break;
      }
      case "inbox":
        this.secrets.set(edge, receiveShares(this.secrets.get(edge)!, told.value.shares));
        this.input({ kind: "agreed", edge });
        break;
      case "unmask": {
        const { shares } = openShares(this.secrets.get(edge)!, told.value.included);
        this.input({ kind: "opened", edge, shares });
        break;
      }
    }
  }
}

function run(fates: readonly Stage[], seed: number) {
  const edges = fates.map((_, i) => `edge-${i}`);
  const world = new World(new Map(edges.map((edge, i) => [edge, fates[i]!])), seed);
  world.input({ kind: "open", edges });
  world.settle();
  const included = world.uploaders.sort();
  world.input({ kind: "close", included });
  world.settle();
  return { world, included };
}

function sums(world: World, included: readonly string[]) {
  const plain = new Uint32Array(3);
  const masked = new Uint32Array(3);
  for (const edge of included) {
    addWords(plain, wordsOf(edge));
    const words = wordsOf(edge);
    maskWords(world.secrets.get(edge)!, words);
    addWords(masked, words);
  }
  removeMasks(unmaskingOf(world.state), masked);
  return { plain: [...plain], unmasked: [...masked] };
}

const worlds = fc.record({
  fates: fc.array(
    fc.oneof({ weight: 3, arbitrary: fc.constant("never" as const) }, fc.constantFrom(...stages)),
    {
      minLength: 3,
      maxLength: 7,
    },
  ),
  seed: fc.nat(),
});

test("it ends with the exact sum or with a reason, wherever edges fall silent", (t) => {
  let opened = 0;
  const law = fc.property(worlds, ({ fates, seed }) => {
    const { world, included } = run(fates, seed);
    if (world.state.phase === "failed") return world.state.reason !== "";
    if (world.state.phase !== "open") return false;
    opened += 1;
    const { plain, unmasked } = sums(world, included);
    return plain.join() === unmasked.join();
  });
  fc.assert(law, { numRuns: 25, seed: 5 });
  t.true(opened > 6, `only ${opened} sums were opened`);
});

test("folding the inputs again gives the same state", (t) => {
  const { world } = run(["never", "never", "delta", "never", "roster", "never", "never"], 3);
  const again = world.inputs.reduce(
    (state, { input, nowMs }) => stepMasking(state, input, nowMs),
    startMasking(place),
  );
  t.deepEqual(again, world.state);
  t.is(again.phase, "open");
});

test("each reason says what was missing", (t) => {
  const reasonOf = (...fates: Stage[]) => run(fates, 1).world.state.reason;
  t.regex(reasonOf("never", "never", "join"), /2 edges have joined, 3 are needed/);
  t.regex(reasonOf("never", "never", "roster"), /2 of 3 edges have shared their secrets/);
  t.regex(reasonOf("never", "never", "delta"), /2 of 3 masked deltas came/);
  const half: Stage[] = ["never", "never", "never", "unmask", "unmask", "unmask"];
  t.regex(reasonOf(...half), /too few edges have opened/);
});

test("an edge left out is named with why", (t) => {
  const { world } = run(["never", "never", "never", "never", "join", "roster"], 2);
  t.deepEqual(
    [...world.state.left],
    [
      ["edge-4", "did not answer"],
      ["edge-5", "did not answer"],
    ],
  );
  t.is(world.state.phase, "open");
});

test("keys of another edge or round, and shares for others, leave their sender out", (t) => {
  const edges = ["edge-0", "edge-1", "edge-2", "edge-3"];
  const random = seededSource(4);
  const keysOf = (edge: string, round = place.round) => {
    return enterMasking({ ...place, round, edge }, key, random).keys!;
  };
  let state = stepMasking(startMasking(place), { kind: "open", edges }, 0);
  state = stepMasking(state, { kind: "keys", edge: "edge-0", keys: keysOf("edge-1") }, 0);
  state = stepMasking(state, { kind: "keys", edge: "edge-1", keys: keysOf("edge-1", 9) }, 0);
  t.deepEqual([...state.left.keys()], ["edge-0", "edge-1"]);
  // Whoever was not asked is not heard.
  t.is(stepMasking(state, { kind: "keys", edge: "stranger", keys: keysOf("stranger") }, 0), state);
  t.is(stepMasking(state, { kind: "tick" }, STAGE_MAX_MS - 1), state);
});

test("what is told twice changes nothing the second time", (t) => {
  const { world } = run(["never", "never", "never"], 6);
  for (const { input, nowMs } of world.inputs)
    t.is(stepMasking(world.state, input, nowMs), world.state);
});
