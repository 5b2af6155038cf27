// Answers "how well does this version do?" on a public set or on the private held-out examples.
// Only counts leave the edge.
import { statSync } from "node:fs";
import { create, toBinary } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import type { Artifact, ModelVersion } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import {
  type EvaluateCommand,
  EvaluateCommandSchema,
  type EvaluateReply,
  EvaluateReplySchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { Log } from "../../runtime/log.ts";
import { readExamples, type TrainingExample } from "../training/example-file.ts";
import { type PrivateData, type PrivateDataOf, readPrivateSplit } from "./private-examples.ts";
import { wordsOf } from "./spoken-fault.ts";

/** Examples of one evaluation, whatever is asked for. */
const EXAMPLES_MAX = 10_000;
const WAITING_MAX = 16;
/** Finished evaluations whose counts are remembered, for a question that is asked again. */
const ANSWERS_KEPT = 32;

/**
 * Counts the examples whose completion equals the expected text exactly: opens the version beside
 * the served one, asks with the chat prompt at temperature 0 and batch priority.
 */
export type Evaluator = (
  version: ModelVersion,
  examples: readonly TrainingExample[],
  control: { readonly signal: AbortSignal; readonly keepOpen: boolean },
) => Promise<number>;

export interface EvaluationsOptions {
  readonly region: string;
  readonly edge: string;
  readonly privateData: PrivateDataOf;
  readonly fetchArtifact: (artifact: Artifact) => Promise<string>;
  readonly evaluator: Evaluator;
  readonly log: Log;
}

export class Evaluations {
  readonly #options: EvaluationsOptions;
  /** Under way or finished well, by command and data, oldest first. */
  readonly #answers = new Map<string, Promise<EvaluateReply>>();
  readonly #stopping = new AbortController();
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(options: EvaluationsOptions) {
    this.#options = options;
  }

  /** Evaluates one command after another; the same command asked again gets the same answer. */
  async answer(command: EvaluateCommand): Promise<EvaluateReply> {
    try {
      const key = this.#keyOf(command);
      const known = this.#answers.get(key);
      if (known) return await known;
      if (this.#waiting >= WAITING_MAX) throw new Fault("overloaded", "evaluations are waiting");
      const answer = this.#enqueue(() => this.#evaluate(command));
      this.#remember(key, answer);
      return await answer;
    } catch (thrown) {
      const failed = wordsOf(thrown);
      this.#options.log.error({ failed }, "an evaluation failed");
      return this.#reply({ failed });
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#tail;
  }

  async #evaluate(command: EvaluateCommand): Promise<EvaluateReply> {
    const version = command.version!;
    const { dataset, examples } = await this.#examplesOf(command, version.model);
    const asked = Math.min(command.examplesMax || EXAMPLES_MAX, EXAMPLES_MAX);
    const chosen = spread(examples, asked);
    const exact = await this.#options.evaluator(version, chosen, {
      signal: this.#stopping.signal,
      keepOpen: command.keepOpen,
    });
    return this.#reply({ dataset, examples: chosen.length, exact });
  }

  async #examplesOf({ dataset }: EvaluateCommand, model: string) {
    if (!dataset) {
      const data = this.#privateDataOf(model);
      return { dataset: data.name, examples: readPrivateSplit(data).heldout };
    }
    const path = await this.#options.fetchArtifact(dataset);
    const name = dataset.name.replace(/\.[^.]*$/, "") || "dataset";
    return { dataset: name, examples: readExamples(path) };
  }

  #privateDataOf(model: string): PrivateData {
    const data = this.#options.privateData(model);
    if (!data) throw new Fault("not-found", "no private examples for this model");
    return data;
  }

  /** Changes with the command and, for private data, with the file and what is kept. */
  #keyOf(command: EvaluateCommand): string {
    if (!command.version?.base) throw new Fault("invalid-argument", "no version to evaluate");
    const asked = Buffer.from(toBinary(EvaluateCommandSchema, command)).toString("base64");
    if (command.dataset) return asked;
    const data = this.#privateDataOf(command.version.model);
    const path = data.heldout ?? data.train;
    const stat = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
    return `${asked} ${stat?.mtimeMs} ${stat?.size} ${data.kept?.revision}`;
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    this.#waiting++;
    const done = this.#tail.then(work).finally(() => this.#waiting--);
    this.#tail = done.catch(() => {});
    return done;
  }

  #remember(key: string, answer: Promise<EvaluateReply>): void {
    this.#answers.set(key, answer);
    answer.catch(() => this.#answers.delete(key));
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > ANSWERS_KEPT) this.#answers.delete(oldest!);
  }

  #reply(counts: { dataset?: string; examples?: number; exact?: number; failed?: string }) {
    const { edge, region } = this.#options;
    return create(EvaluateReplySchema, { edge, region, ...counts });
  }
}

/** At most `count`, from all over the set, the same ones every time. */
function spread<T>(items: readonly T[], count: number): readonly T[] {
  if (items.length <= count) return items;
  return Array.from({ length: count }, (_, n) => items[Math.floor((n * items.length) / count)]!);
}
