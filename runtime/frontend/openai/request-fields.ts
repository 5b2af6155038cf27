// The fields that the chat and the legacy completion requests share, as schemas, and how they
// become sampling, constraint and stop of a GenerateRequest.
import { z } from "zod";
import { nestsDeeper } from "../../tools/json-depth.ts";
import { limits } from "../request-rules.ts";

/** OpenAI's own maximum is 128; each one takes a slot of an engine. */
export const CHOICES_MAX = 16;
const STOP_MAX = 4;
const ITEMS_MAX = 16;

/** Absent and null mean the same to OpenAI. */
export const optional = <S extends z.ZodType>(schema: S) => schema.nullish();

const number = (max: number) => z.number().min(0).max(max);
const tokenCount = z.int().min(1).max(limits.completionTokensMax);
const stopText = z.string().min(1).max(limits.stopCharsMax);

/** A field that we know and can't honour: fine while its value changes nothing. */
export function unsupported(isNeutral: (value: unknown) => boolean, hint = "") {
  const refined = z.unknown().superRefine((value, context) => {
    if (value === undefined || value === null || isNeutral(value)) return;
    context.addIssue({
      code: "custom",
      message: `this parameter is not supported here${hint}`,
      params: { code: "unsupported_parameter" },
    });
  });
  return refined.optional();
}

const isZero = (value: unknown): boolean => value === 0;
const isFalse = (value: unknown): boolean => value === false;
export const isEmpty = (value: unknown): boolean =>
  typeof value === "object" && value !== null && Object.keys(value).length === 0;
export const isOneOf =
  (...values: readonly unknown[]) =>
  (value: unknown): boolean =>
    values.includes(value);

export const sharedFields = {
  model: z.string(),
  max_tokens: optional(tokenCount),
  temperature: optional(number(limits.temperatureMax)),
  top_p: optional(number(1)),
  // Not OpenAI's, but what other servers of open models call them.
  top_k: optional(z.int().min(0).max(limits.topKMax)),
  min_p: optional(number(1)),
  seed: optional(z.int()),
  n: optional(z.int().min(1).max(CHOICES_MAX)),
  stop: optional(
    z.union([stopText, z.array(stopText).max(STOP_MAX)], {
      error: `expected a text or at most ${STOP_MAX} texts, none of them empty`,
    }),
  ),
  stream: optional(z.boolean()),
  stream_options: optional(
    z.strictObject({
      include_usage: optional(z.boolean()),
      include_obfuscation: optional(z.boolean().refine((on) => !on, "is not supported")),
    }),
  ),
  user: optional(z.string().max(limits.stopCharsMax)),
  logit_bias: unsupported(isEmpty),
  presence_penalty: unsupported(isZero),
  frequency_penalty: unsupported(isZero),
} as const;

/** Fields of chat requests that we accept because they change nothing here, or refuse by name. */
export const chatOnlyFields = {
  metadata: optional(z.record(z.string().max(64), z.string().max(512))),
  store: optional(z.boolean()),
  service_tier: optional(z.string().max(64)),
  prompt_cache_key: optional(z.string().max(256)),
  prompt_cache_retention: optional(z.string().max(64)),
  safety_identifier: optional(z.string().max(256)),
  function_call: unsupported(isOneOf("none", "auto")),
  functions: unsupported(isEmpty),
  modalities: unsupported(
    (value) => Array.isArray(value) && value.length === 1 && value[0] === "text",
  ),
  audio: unsupported(() => false),
  prediction: unsupported(() => false),
  reasoning_effort: unsupported(isOneOf("none")),
  verbosity: unsupported(isOneOf("medium")),
  web_search_options: unsupported(() => false),
} as const;

/** Fields of legacy completion requests of the same kind. */
export const textOnlyFields = {
  best_of: unsupported(isOneOf(1)),
  echo: unsupported(isFalse),
  suffix: unsupported(isOneOf("")),
} as const;

const schemaObject = z
  .record(z.string(), z.unknown())
  .refine((schema) => !nestsDeeper(schema, limits.schemaDepthMax), {
    error: `nests deeper than ${limits.schemaDepthMax} levels`,
  });

export const responseFormat = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    json_schema: z.strictObject({
      name: z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/),
      description: optional(z.string()),
      schema: schemaObject,
      strict: optional(z.boolean()),
    }),
  }),
]);

type SharedBody = z.output<z.ZodObject<typeof sharedFields>>;

/** Sampling of choice `choice`: each gets its own seed, so that they differ and can be repeated. */
export function samplingOf(body: SharedBody, choice: number) {
  return {
    ...(body.temperature != null && { temperature: body.temperature }),
    ...(body.top_p != null && { topP: body.top_p }),
    ...(body.top_k != null && { topK: body.top_k }),
    ...(body.min_p != null && { minP: body.min_p }),
    ...(body.seed != null && { seed: seedOf(body.seed, choice) }),
  };
}

export function stopOf({ stop }: SharedBody): string[] {
  if (stop == null) return [];
  return (typeof stop === "string" ? [stop] : stop).map((text) => text.toWellFormed());
}

export type ResponseFormat = z.output<typeof responseFormat> | null | undefined;

/** The field `constraint` of a GenerateRequest, if the format asks for one. */
export function constraintOf(format: ResponseFormat) {
  if (format?.type === "json_object") return jsonObject;
  return format?.type === "json_schema" ? schemaConstraint(format.json_schema.schema) : {};
}

const jsonObject = { constraint: { kind: { case: "jsonObject", value: true } as const } };

export function schemaConstraint(schema: Readonly<Record<string, unknown>>) {
  const value = JSON.stringify(schema);
  return { constraint: { kind: { case: "jsonSchema", value } as const } };
}

/** Seeds are 64-bit and signed at OpenAI, 32-bit here. */
function seedOf(seed: number, choice: number): number {
  return Number(BigInt.asUintN(32, BigInt(seed) + BigInt(choice)));
}

/** A list that is bounded in length, such as prompts. */
export const listOf = <S extends z.ZodType>(item: S) => z.array(item).min(1).max(ITEMS_MAX);
