// Secure aggregation beside a region's rounds: opens the masking once the invited have said yes,
// ends the seats of those who are left out, and makes the partial of masked deltas.
import { rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { type Partial$ as Partial, PartialSchema } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { type RegionId, sha256 } from "../../proto/ids.ts";
import { addWords, decodeFixedPoint, wordsOfLayout } from "../../sync/secagg/fixed-point.ts";
import { wordsOfBytes } from "../../sync/secagg/mask-stream.ts";
import { maskedFormat } from "../../sync/secagg/masked-delta.ts";
import { unmaskingOf } from "../../sync/secagg/masking-collector.ts";
import { removeMasks } from "../../sync/secagg/unmasking.ts";
import { expectedLayout } from "./expected-layout.ts";
import { INVITE_WINDOW_MS } from "./invitation.ts";
import { MaskingRun, type MaskingRunOptions } from "./masking-run.ts";
import { type PartialSources, storeTensors, sumPartial } from "./regional-partial.ts";
import type { RoundRunner } from "./round-runner.ts";
import { includedSeats, isConcluded, type RoundState } from "./round-state.ts";

/** After the invitations, how long edges that have not said yes are waited for. */
const ACCEPT_WAIT_MS = 5_000;

export interface MaskingDeskOptions extends MaskingRunOptions {
  readonly region: RegionId;
  /** Folder of its own. */
  readonly dir: string;
}

export class MaskingDesk {
  readonly #options: MaskingDeskOptions;
  readonly #runs = new Map<string, Promise<MaskingRun>>();
  /** Rounds whose masking was forgotten. */
  readonly #over = new WeakSet<RoundRunner>();

  constructor(options: MaskingDeskOptions) {
    this.#options = options;
  }

  /** Looks after a masked round; to be called again and again. */
  async pursue(runner: RoundRunner): Promise<void> {
    const { state } = runner;
    if (!state.offer.secureAggregation) return;
    if (state.phase === "done") return await this.#forget(runner);
    const run = await this.#runOf(state);
    if (run.state.phase === "waiting") {
      const edges = this.#readyToMask(state);
      if (edges === null) return;
      await run.input({ kind: "open", edges });
    }
    await run.input({ kind: "tick" });
    for (const [edge, reason] of leftOut(run, runner.state)) {
      await runner.step({ kind: "failure", edge, reason });
    }
  }

  /**
   * The round's partial: what the rule makes of bare deltas; of masked ones the sum, in which each
   * weighs the same. Faults: `failed-precondition` when too few are left to take the masks off.
   */
  async sum(state: RoundState, sources: PartialSources): Promise<Partial> {
    const { offer } = state;
    if (!offer.secureAggregation) return await sumPartial(state, sources);
    const run = await this.#runOf(state);
    const seats = includedSeats(state);
    const included = seats.filter(({ edge }) => run.state.shares.has(edge));
    const strangers = seats.filter((seat) => !included.includes(seat));
    await run.input({ kind: "close", included: included.map(({ edge }) => edge) });
    const masking = await run.opened();
    const layout = await expectedLayout(offer, sources.fetchArtifact);
    const sum = new Uint32Array(wordsOfLayout(layout));
    for (const { manifest } of included) {
      const path = sources.deltas.path(sha256(manifest!.delta!.sha256));
      addWords(sum, wordsOfBytes(await readFile(path)));
    }
    removeMasks(unmaskingOf(masking), sum);
    const tensors = decodeFixedPoint(sum, layout, maskedFormat(offer, masking.keys.size));
    const artifact = await storeTensors(tensors, sources);
    return create(PartialSchema, {
      artifact: { ...artifact, name: `${offer.campaign}-${offer.round}-partial.safetensors` },
      weight: included.length,
      count: included.length,
      contributors: included.map(({ edge }) => edge).sort(),
      rank: offer.params?.rank ?? 0,
      alpha: offer.params?.alpha ?? 0,
      kind: "sum",
      leftOut: strangers.map(({ edge }) => ({ edge, reason: "has no part in the masks" })),
    });
  }

  async stop(): Promise<void> {
    const runs = await Promise.all(this.#runs.values());
    this.#runs.clear();
    await Promise.all(runs.map((run) => run.close()));
  }

  /** The edges that may mask; null while some may still say yes. */
  #readyToMask({ seats, openedMs, phase }: RoundState): readonly string[] | null {
    const open = [...seats.values()].filter((seat) => !isConcluded(seat));
    const sinceMs = this.#options.clock.now() - openedMs - INVITE_WINDOW_MS;
    if (phase !== "open" || open.length === 0 || sinceMs < 0) return null;
    const accepted = open.filter((seat) => seat.accepted).map(({ edge }) => edge);
    const isWaitOver = sinceMs >= ACCEPT_WAIT_MS;
    return accepted.length === open.length || (isWaitOver && accepted.length > 0) ? accepted : null;
  }

  #runOf({ offer: { campaign, round } }: RoundState): Promise<MaskingRun> {
    const key = `${campaign}/${round}`;
    const known = this.#runs.get(key);
    if (known) return known;
    const { region } = this.#options;
    const path = join(this.#folder(key), "masking.log");
    const run = MaskingRun.open(path, { campaign, round, region }, this.#options);
    this.#runs.set(key, run);
    run.catch(() => this.#runs.delete(key));
    return run;
  }

  /** What edges have shared is of no use to anybody once the round is over. */
  async #forget(runner: RoundRunner): Promise<void> {
    if (this.#over.has(runner)) return;
    this.#over.add(runner);
    const { campaign, round } = runner.state.offer;
    const key = `${campaign}/${round}`;
    const run = this.#runs.get(key);
    this.#runs.delete(key);
    await (await run)?.close();
    rmSync(this.#folder(key), { recursive: true, force: true });
  }

  #folder(key: string): string {
    return join(this.#options.dir, key);
  }
}

/** Whose seat ends because it has no part in the masks. */
function leftOut(run: MaskingRun, state: RoundState): readonly (readonly [string, string])[] {
  const { phase, left, invited, reason } = run.state;
  const open = [...state.seats.values()].filter((seat) => !isConcluded(seat));
  return open.flatMap(({ edge }) => {
    if (phase === "failed") return [[edge, reason] as const];
    if (left.has(edge)) return [[edge, `secure aggregation: ${left.get(edge)}`] as const];
    if (phase === "waiting" || invited.includes(edge)) return [];
    return [[edge, "came too late for the round's masks"] as const];
  });
}
