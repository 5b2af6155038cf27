// The edge's part in federated rounds: says yes or no to a train command, runs the job, and takes
// up again after a kill what it had said yes to.
import { create } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import {
  type TrainCommand,
  type TrainProgress,
  TrainProgressSchema,
  type TrainReply,
  TrainReplySchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { namePattern } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { type PrivateDataOf, readPrivateSplit } from "./private-examples.ts";
import { isEnded, jobKey, type RoundJob, RoundJobs } from "./round-job.ts";
import { type RoundTrainingOptions, runRoundTraining } from "./round-training.ts";
import { wordsOf } from "./spoken-fault.ts";

/** A job that was running when its edge died this often is given up: it may be what kills it. */
const ATTEMPTS_MAX = 3;
const PROGRESS_EVERY_MS = 250;
/** How long a new round waits for the region's last word on the one before; a region asks anew. */
const LAST_WORD_WAIT_MS = 1_500;

export interface ParticipantOptions
  extends Pick<
    RoundTrainingOptions,
    "region" | "edge" | "key" | "residuals" | "masks" | "threads" | "fetchArtifact" | "runTraining"
  > {
  readonly dir: string;
  readonly enabled: boolean;
  readonly privateData: PrivateDataOf;
  readonly clock: Clock;
  readonly log: Log;
  readonly publish: (progress: TrainProgress) => void;
}

interface Running {
  readonly key: string;
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

export class Participant {
  readonly #options: ParticipantOptions;
  readonly #jobs: RoundJobs;
  #running: Running | null = null;
  #stopped = false;
  /** Commands are answered one after another: the same one may come twice at once. */
  #answers: Promise<unknown> = Promise.resolve();

  constructor(options: ParticipantOptions) {
    this.#options = options;
    this.#jobs = new RoundJobs(options.dir);
  }

  get isTraining(): boolean {
    return this.#running !== null;
  }

  /** Takes up the job that a former process left open. */
  resume(): void {
    const job = this.#jobs.open;
    if (!job) return;
    if (job.attempts >= ATTEMPTS_MAX) {
      this.#fail(job, `the edge stopped ${job.attempts} times while training`);
    } else {
      this.#start(job);
    }
  }

  /** Whether the edge has said yes to a masked round that isn't over here. */
  isMasking(campaign: string, round: number): boolean {
    const { open } = this.#jobs;
    const offer = open?.command.offer;
    return offer?.campaign === campaign && offer.round === round && offer.secureAggregation;
  }

  /** Answers a train command; told again, it answers the same. A yes is durable. */
  answer(command: TrainCommand): Promise<TrainReply> {
    const reply = this.#answers.then(() => this.#decide(command));
    this.#answers = reply.catch(() => {});
    return reply;
  }

  async #decide(command: TrainCommand): Promise<TrainReply> {
    const known = this.#jobs.get(jobKey({ command }));
    if (known) return this.#answerAgain(known, command);
    const objection = this.#objection(command);
    if (objection) return decline(objection);
    await this.#giveUpOlder(command);
    if (this.#running) return decline("another round is training here");
    const acceptedMs = this.#options.clock.now();
    const job: RoundJob = { command, phase: "accepted", outcome: "", attempts: 0, acceptedMs };
    this.#jobs.save(job);
    this.#start(job);
    return create(TrainReplySchema, { accepted: true });
  }

  /** Ends what runs; its job stays open on disk and is taken up by the next process. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#running?.abort.abort();
    await this.#running?.done;
  }

  #answerAgain(job: RoundJob, command: TrainCommand): TrainReply {
    if (job.phase === "failed") return decline(job.outcome);
    // A region that was restarted may listen elsewhere.
    const { uploadTo, uploadElsewhere } = command;
    const known = [job.command.uploadTo, ...job.command.uploadElsewhere].join();
    if (!isEnded(job) && known !== [uploadTo, ...uploadElsewhere].join()) {
      this.#jobs.save({ ...job, command: { ...job.command, uploadTo, uploadElsewhere } });
    }
    return create(TrainReplySchema, { accepted: true });
  }

  #objection({ offer, uploadTo }: TrainCommand): string | null {
    const { enabled, privateData, clock } = this.#options;
    if (!enabled) return "training is not enabled on this edge";
    const isWhole = offer?.version?.base && offer.params && URL.canParse(uploadTo);
    if (!isWhole || !namePattern.test(offer.campaign)) return "the command is incomplete";
    if (clock.now() >= Number(offer.deadlineMs)) return "the round is over";
    const data = privateData(offer.model);
    if (!data) return "no private examples for this model";
    try {
      return readPrivateSplit(data).train.length > 0 ? null : "no private examples to train on";
    } catch (thrown) {
      return `the private examples can't be used: ${wordsOf(thrown)}`;
    }
  }

  /** An earlier round of the same campaign is over for everybody. */
  async #giveUpOlder({ offer }: TrainCommand): Promise<void> {
    const job = this.#jobs.open;
    if (!job || !this.#running) return;
    const { campaign, round, asynchronous } = job.command.offer!;
    // Its delta still counts, in a later round.
    if (asynchronous) return;
    if (campaign !== offer!.campaign || round >= offer!.round) return;
    // Its delta may have been taken before this edge was killed: it is about to hear of it.
    if (job.phase === "trained") await this.#hearLastWord(this.#running.done);
    if (!this.#running) return;
    this.#running.abort.abort(new Fault("cancelled", `round ${offer!.round} has begun`));
    await this.#running.done;
  }

  async #hearLastWord(done: Promise<void>): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = this.#options.clock.after(LAST_WORD_WAIT_MS, resolve);
    await Promise.race([done, late]);
    timer.cancel();
  }

  #start(job: RoundJob): void {
    const attempt = { ...job, attempts: job.attempts + 1 };
    this.#jobs.save(attempt);
    const abort = new AbortController();
    const key = jobKey(job);
    const done = this.#run(attempt, abort.signal).finally(() => {
      this.#running = null;
    });
    this.#running = { key, abort, done };
  }

  async #run(job: RoundJob, signal: AbortSignal): Promise<void> {
    const key = jobKey(job);
    const { privateData, log } = this.#options;
    const latest = () => this.#jobs.get(key) ?? job;
    try {
      const data = privateData(job.command.offer!.model);
      if (!data) throw new Fault("failed-precondition", "the private examples are gone");
      const outcome = await runRoundTraining(job, this.#jobs.folder(job), data, {
        ...this.#options,
        signal,
        onProgress: this.#throttled(job),
        onTrained: () => this.#jobs.save({ ...latest(), phase: "trained" }),
        address: () => latest().command.uploadTo,
        elsewhere: () => latest().command.uploadElsewhere,
      });
      log.info(
        { round: key, status: outcome.status, reason: outcome.reason },
        "a round ended here",
      );
      const phase = outcome.included ? "done" : "failed";
      this.#jobs.save({ ...latest(), phase, outcome: `${outcome.status}: ${outcome.reason}` });
    } catch (thrown) {
      if (this.#stopped) return;
      const reason = wordsOf(signal.reason instanceof Fault ? signal.reason : thrown);
      log.error({ round: key, reason }, "a round failed here");
      this.#fail(latest(), reason);
    }
  }

  #fail(job: RoundJob, reason: string): void {
    this.#jobs.save({ ...job, phase: "failed", outcome: reason });
    this.#publish(job, { failed: reason });
  }

  /** Steps come faster than anybody wants to read them. */
  #throttled(job: RoundJob): RoundTrainingOptions["onProgress"] {
    let nextMs = 0;
    return ({ step, steps, loss }) => {
      const nowMs = this.#options.clock.monotonicMs();
      if (nowMs < nextMs && step < steps) return;
      nextMs = nowMs + PROGRESS_EVERY_MS;
      this.#publish(job, { step, steps, loss });
    };
  }

  #publish(
    { command }: RoundJob,
    report: Partial<Pick<TrainProgress, "step" | "steps" | "loss" | "failed">>,
  ): void {
    const { campaign, round } = command.offer!;
    const { edge, publish } = this.#options;
    publish(create(TrainProgressSchema, { campaign, round, edge, ...report }));
  }
}

function decline(reason: string): TrainReply {
  return create(TrainReplySchema, { accepted: false, reason });
}
