// How a completion stands, in the words of the trunk.
import { Phase, type Standing, type TrunkItem } from "../../proto/gen/isthmus/v1/trunk_pb.ts";
import type { Answer } from "../inference/inquiry.ts";

const phases = {
  waiting: Phase.WAITING,
  reading: Phase.READING,
  generating: Phase.GENERATING,
} as const;

export function standingItem(id: number, answer: Answer): TrunkItem {
  const value: Standing = {
    $typeName: "isthmus.v1.Standing",
    phase: answer === null ? Phase.UNSPECIFIED : phases[answer.phase],
    silentMs: answer === null ? 0 : Math.round(answer.silentMs),
  };
  return { $typeName: "isthmus.v1.TrunkItem", id, outcome: { case: "standing", value } };
}

export function answerOf({ phase, silentMs }: Standing): Answer {
  switch (phase) {
    case Phase.WAITING:
      return { phase: "waiting", silentMs };
    case Phase.READING:
      return { phase: "reading", silentMs };
    case Phase.GENERATING:
      return { phase: "generating", silentMs };
    default:
      return null;
  }
}
