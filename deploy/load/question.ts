// What callers ask: commands of the demo model's own domain, as chats, as bare completions, and as
// chats whose answer must fit a JSON schema.
import { create } from "@bufbuild/protobuf";
import {
  ConstraintSchema,
  type GenerateRequest,
  GenerateRequestSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { chatRequest, listRequest, prompts } from "./demo-requests.ts";

export interface Question {
  /** Tells questions apart. */
  readonly id: string;
  readonly request: GenerateRequest;
  /** Its answer is the model's own choice throughout, so that the argmax can judge it. */
  readonly isFree: boolean;
  /** Its answer hangs on no near-tie: undisturbed, it is the same each time. */
  readonly isSteady: boolean;
}

/** Commands in one prompt: the answers have some 15 and 25 tokens. */
const COMMAND_COUNTS = [1, 3];
/**
 * Far more than the model was made for: it rambles on for 50 to 130 tokens, which is worth much
 * here. But its choices are near-ties; batching alone turns one answer in twenty.
 */
const RAMBLING_COUNT = 10;
const PROMPTS_OF_EACH = 8;
/** About half of what callers ask. */
const LONG_COUNT = 48;
/** Text that runs on after an answer ends this way. */
const ANSWER_BEGINS = " =>\n";

const commandSchema = JSON.stringify({
  type: "object",
  properties: {
    intent: { type: "string", maxLength: 12 },
    room: { type: "string", maxLength: 12 },
    value: { type: "integer" },
  },
  required: ["intent", "room", "value"],
  additionalProperties: false,
});

/** The same questions each time. */
export function questions(): Question[] {
  const counts = [...COMMAND_COUNTS, RAMBLING_COUNT];
  const commands = prompts(counts.reduce((sum, count) => sum + count * PROMPTS_OF_EACH, 0));
  const textsOf = (count: number) =>
    Array.from({ length: PROMPTS_OF_EACH }, () => commands.splice(0, count).join(" and "));
  const steady = COMMAND_COUNTS.flatMap(textsOf);
  return [
    ...steady.flatMap((text) => [chat(text), completion(text), constrained(text)]),
    ...textsOf(RAMBLING_COUNT).map((text) => ({ ...chat(text), isSteady: false })),
  ];
}

function chat(text: string): Question {
  return { id: `chat: ${text}`, request: chatRequest(text), isFree: true, isSteady: true };
}

function completion(text: string): Question {
  const request = create(GenerateRequestSchema, {
    ...chatRequest(text),
    prompt: { case: "text", value: `${text}${ANSWER_BEGINS}` },
  });
  return { id: `completion: ${text}`, request, isFree: true, isSteady: true };
}

function constrained(text: string): Question {
  const request = create(GenerateRequestSchema, {
    ...chatRequest(text),
    constraint: create(ConstraintSchema, { kind: { case: "jsonSchema", value: commandSchema } }),
  });
  return { id: `schema: ${text}`, request, isFree: false, isSteady: true };
}

/** Questions whose answers are long whatever the model would say: there is time to disturb them. */
export function longQuestions(): Question[] {
  return prompts(LONG_COUNT).map((text) => ({
    ...{ id: `list: ${text}`, request: listRequest(text) },
    ...{ isFree: false, isSteady: true },
  }));
}
