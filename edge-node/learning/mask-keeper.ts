// The edge's part in secure aggregation: answers the region's mask commands, and keeps what it must
// not lose. Secrets are on disk before anybody hears of the keys, and an answer before it is given:
// after a kill the edge says the same again, and never both halves of anything.
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import {
  type MaskCommand,
  type MaskReply,
  MaskReplySchema,
  type MaskSecrets,
  MaskSecretsSchema,
} from "../../proto/gen/isthmus/v1/secagg_pb.ts";
import { namePattern } from "../../proto/ids.ts";
import { type RandomBytes, secureBytes } from "../../runtime/random.ts";
import { makeFolder, replaceFile } from "../../sync/delta/durable-file.ts";
import type { SigningKey } from "../../sync/delta/signing-key.ts";
import {
  enterMasking,
  isAgreed,
  openShares,
  receiveShares,
  shareSecrets,
} from "../../sync/secagg/masking-party.ts";
import { wordsOf } from "./spoken-fault.ts";

/** Rounds whose secrets are kept, for shares that are asked for late. */
const ROUNDS_KEPT = 8;
const SUFFIX = ".masks";

export interface MaskKeeperOptions {
  readonly dir: string;
  readonly region: string;
  readonly edge: string;
  readonly key: SigningKey;
  readonly random?: RandomBytes;
  /** Whether the edge has said yes to a masked round. */
  readonly takesPart: (campaign: string, round: number) => boolean;
}

export class MaskKeeper {
  readonly #options: MaskKeeperOptions;
  readonly #random: RandomBytes;
  readonly #waiting = new Set<() => void>();

  constructor(options: MaskKeeperOptions) {
    this.#options = options;
    this.#random = options.random ?? secureBytes;
    makeFolder(options.dir);
  }

  /** Answers a mask command; told again, it answers the same. */
  answer(command: MaskCommand): MaskReply {
    try {
      return create(MaskReplySchema, this.#answer(command));
    } catch (thrown) {
      if (!(thrown instanceof Fault)) throw thrown;
      return create(MaskReplySchema, { refused: wordsOf(thrown) });
    }
  }

  /** Resolves once masks are agreed. Faults: the signal's reason. */
  async agreed(campaign: string, round: number, signal: AbortSignal): Promise<MaskSecrets> {
    for (;;) {
      const secrets = this.#load(campaign, round);
      if (secrets && isAgreed(secrets)) return secrets;
      await this.#change(signal);
    }
  }

  #answer({ campaign, round, step }: MaskCommand): MessageInitShape<typeof MaskReplySchema> {
    if (!namePattern.test(campaign)) throw new Fault("invalid-argument", "no such campaign");
    switch (step.case) {
      case "join":
        return { keys: this.#join(campaign, round).keys! };
      case "roster": {
        const known = this.#known(campaign, round);
        const { members } = step.value;
        return { shares: this.#save(shareSecrets(known, members, this.#random)).shares! };
      }
      case "inbox":
        this.#save(receiveShares(this.#known(campaign, round), step.value.shares));
        for (const wake of this.#waiting) wake();
        return {};
      case "unmask": {
        const opened = openShares(this.#known(campaign, round), step.value.included);
        this.#save(opened.secrets);
        return { unmask: opened.shares };
      }
      default:
        throw new Fault("invalid-argument", "a mask command of no kind");
    }
  }

  #join(campaign: string, round: number): MaskSecrets {
    const known = this.#load(campaign, round);
    if (known) return known;
    const { region, edge, key, takesPart } = this.#options;
    if (!takesPart(campaign, round)) {
      throw new Fault("failed-precondition", "this edge takes no part in that round");
    }
    this.#prune();
    return this.#save(enterMasking({ campaign, round, region, edge }, key, this.#random));
  }

  #known(campaign: string, round: number): MaskSecrets {
    const secrets = this.#load(campaign, round);
    if (secrets) return secrets;
    throw new Fault("failed-precondition", "this edge has no keys in that round");
  }

  #load(campaign: string, round: number): MaskSecrets | null {
    const path = this.#path(campaign, round);
    return existsSync(path) ? fromBinary(MaskSecretsSchema, readFileSync(path)) : null;
  }

  #save(secrets: MaskSecrets): MaskSecrets {
    const { campaign, round } = secrets.keys!;
    replaceFile(this.#path(campaign, round), toBinary(MaskSecretsSchema, secrets));
    return secrets;
  }

  #path(campaign: string, round: number): string {
    return join(this.#options.dir, `${campaign}.${round}${SUFFIX}`);
  }

  /** Secrets of old rounds are worth nothing to anybody but a thief. */
  #prune(): void {
    const { dir } = this.#options;
    const paths = readdirSync(dir)
      .filter((name) => name.endsWith(SUFFIX))
      .map((name) => join(dir, name))
      .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
    for (const path of paths.slice(ROUNDS_KEPT - 1)) rmSync(path, { force: true });
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", abort);
      };
      const wake = () => {
        leave();
        resolve();
      };
      const abort = () => {
        leave();
        reject(signal.reason);
      };
      signal.addEventListener("abort", abort, { once: true });
      this.#waiting.add(wake);
      if (signal.aborted) abort();
    });
  }
}
