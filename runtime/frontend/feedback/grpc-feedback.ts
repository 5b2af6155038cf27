// The public gRPC service isthmus.v1.Feedback.
import { Fault } from "../../../proto/fault.ts";
import { Feedback, type GiveFeedbackRequest } from "../../../proto/gen/isthmus/v1/feedback_pb.ts";
import { type BoundService, bindService } from "../../grpc/bridge.ts";
import { visitedRegionsOf } from "../../trunk/visited-metadata.ts";
import { completionName } from "./completion-key.ts";
import {
  CHOICE_MAX,
  type FeedbackPort,
  type FeedbackReceipt,
  type GivenFeedback,
  LESSON_CHARS_MAX,
  type Lesson,
} from "./feedback-port.ts";

export function feedbackService(port: FeedbackPort): BoundService {
  return bindService(Feedback, {
    async giveFeedback(request, { metadata }) {
      const given = givenIn(request);
      return { receipt: receiptOf(await port.give(given, visitedRegionsOf(metadata))) };
    },
    async getFeedback({ id, choice }, { metadata }) {
      const name = nameIn(id, choice);
      return { receipt: receiptOf(await port.get(name, visitedRegionsOf(metadata))) };
    },
    async deleteFeedback({ id, choice }, { metadata }) {
      await port.remove(nameIn(id, choice), visitedRegionsOf(metadata));
      return {};
    },
  });
}

function givenIn({ id, choice, lesson, rating }: GiveFeedbackRequest): GivenFeedback {
  const name = nameIn(id, choice);
  if (lesson.case === undefined && rating === undefined) {
    refuse("rating", "is missing: say a correction, an accepted text or a rating");
  }
  // NaN is in no range.
  if (rating !== undefined && !(rating >= -1 && rating <= 1)) {
    refuse("rating", "must be from -1 to 1");
  }
  return { ...name, lesson: lessonIn(lesson), rating: rating ?? null };
}

function lessonIn(lesson: GiveFeedbackRequest["lesson"]): Lesson | null {
  switch (lesson.case) {
    case undefined:
      return null;
    case "correction":
      return { kind: "correction", text: textIn("correction", lesson.value) };
    case "acceptedText":
      return { kind: "accepted", text: textIn("accepted_text", lesson.value) };
    case "accepted":
      if (!lesson.value) refuse("accepted", "is true, or left out");
      return { kind: "accepted", text: null };
  }
}

function textIn(field: string, text: string): string {
  if (text === "") refuse(field, "must not be empty");
  if (text.length > LESSON_CHARS_MAX) refuse(field, `has at most ${LESSON_CHARS_MAX} characters`);
  return text;
}

function nameIn(id: string, choice: number) {
  if (choice > CHOICE_MAX) refuse("choice", `must be at most ${CHOICE_MAX}`);
  return completionName(id, choice);
}

function receiptOf({ givenMs, rating, ...receipt }: FeedbackReceipt) {
  return { ...receipt, givenMs: BigInt(givenMs), ...(rating !== null && { rating }) };
}

function refuse(field: string, what: string): never {
  throw new Fault("invalid-argument", `${field} ${what}`, { param: field });
}
