// What an edge does besides serving: takes part in federated rounds and evaluates versions. Both
// are asked for over NATS; nothing private is in any answer.
import { join } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Artifact } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import {
  EvaluateCommandSchema,
  EvaluateReplySchema,
  TrainCommandSchema,
  TrainProgressSchema,
  TrainReplySchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { MaskCommandSchema, MaskReplySchema } from "../../proto/gen/isthmus/v1/secagg_pb.ts";
import type { EdgeId, RegionId } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import { openSigningKey } from "../../sync/delta/signing-key.ts";
import { Evaluations, type Evaluator } from "./evaluation.ts";
import { MaskKeeper } from "./mask-keeper.ts";
import { Participant } from "./participant.ts";
import type { PrivateDataOf } from "./private-examples.ts";
import { ResidualStore } from "./residual-store.ts";
import type { RunTraining } from "./round-training.ts";

export interface LearningOptions {
  readonly region: RegionId;
  readonly edge: EdgeId;
  /** Folder of its own: the signing key and the jobs. */
  readonly dir: string;
  readonly nats: Pick<NatsLink, "publish" | "subscribe">;
  readonly training: { readonly enabled: boolean; readonly threads: number };
  readonly privateData: PrivateDataOf;
  /** Makes sure that an artifact is here; resolves with its path. */
  readonly fetchArtifact: (artifact: Artifact) => Promise<string>;
  /** `runTraining` of edge-node/training, or another that keeps its contract. */
  readonly runTraining: RunTraining;
  readonly evaluator: Evaluator;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Learning {
  /** Raw Ed25519 key for the heartbeat. */
  readonly publicKey: Uint8Array;
  readonly isTraining: boolean;
  /** Ends what runs. A job that was accepted goes on in the next process. */
  stop(): Promise<void>;
}

/** Listens for commands until `stop`, and takes up a job that a former process left open. */
export function createLearning(options: LearningOptions): Learning {
  const { region, edge, dir, nats } = options;
  const key = openSigningKey(join(dir, "signing-key.pem"));
  const masks: MaskKeeper = new MaskKeeper({
    ...{ dir: join(dir, "masks"), region, edge, key },
    takesPart: (campaign, round) => participant.isMasking(campaign, round),
  });
  const participant = new Participant({
    ...options,
    dir: join(dir, "jobs"),
    key,
    residuals: new ResidualStore(join(dir, "residuals")),
    masks,
    ...options.training,
    publish: (progress) => {
      nats.publish(subjects.progress(region, edge), toBinary(TrainProgressSchema, progress));
    },
  });
  const evaluations = new Evaluations(options);
  const subscriptions = [
    nats.subscribe(subjects.train(region, edge), async ({ body, respond }) => {
      const reply = await participant.answer(fromBinary(TrainCommandSchema, body));
      respond?.(toBinary(TrainReplySchema, reply));
    }),
    nats.subscribe(subjects.mask(region, edge), ({ body, respond }) => {
      const reply = masks.answer(fromBinary(MaskCommandSchema, body));
      respond?.(toBinary(MaskReplySchema, reply));
    }),
    nats.subscribe(subjects.evaluate(region, edge), async ({ body, respond }) => {
      const reply = await evaluations.answer(fromBinary(EvaluateCommandSchema, body));
      respond?.(toBinary(EvaluateReplySchema, reply));
    }),
  ];
  participant.resume();
  return {
    publicKey: key.publicKey,
    get isTraining() {
      return participant.isTraining;
    },
    async stop() {
      for (const subscription of subscriptions) subscription.stop();
      await Promise.all([participant.stop(), evaluations.stop()]);
    },
  };
}
