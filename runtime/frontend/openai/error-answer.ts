// Faults and schema issues in the shape of OpenAI's errors: {error: {message, type, param, code}}.
import type { z } from "zod";
import { asFault, type Fault, type FaultCode } from "../../../proto/fault.ts";

export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ErrorBody;
}

/** What a caller did wrong, in OpenAI's terms. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly status: number;
  readonly code: string;
  readonly param: string | null;

  constructor(status: number, code: string, message: string, param: string | null = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

const INVALID = "invalid_request_error";
const SERVER = "server_error";

/** OpenAI's name for a fault, where it has one; the others keep ours. */
const openAiNames: Partial<Record<FaultCode, { readonly type: string; readonly code: string }>> = {
  "invalid-argument": { type: INVALID, code: "invalid_value" },
  "context-length-exceeded": { type: INVALID, code: "context_length_exceeded" },
  unsupported: { type: INVALID, code: "unsupported_parameter" },
  "model-not-found": { type: INVALID, code: "model_not_found" },
  overloaded: { type: "rate_limit_error", code: "rate_limit_exceeded" },
  internal: { type: SERVER, code: "internal_error" },
};

/** What a client is told when nothing better is known about when to come back. */
const RETRY_AFTER_DEFAULT_MS = 1000;
const SERVER_ERROR = 500;

/** How anything thrown is told to the caller. What an internal fault says stays inside. */
export function errorAnswer(thrown: unknown): ErrorAnswer {
  if (thrown instanceof RequestError) {
    const { status, code, param, message } = thrown;
    return { status, headers: {}, body: { error: { message, type: INVALID, param, code } } };
  }
  const fault = asFault(thrown);
  const status = fault.kind.http;
  const name = openAiNames[fault.code] ?? {
    type: status >= SERVER_ERROR ? SERVER : INVALID,
    code: fault.code.replaceAll("-", "_"),
  };
  const message = fault.code === "internal" ? "The server had an error" : fault.message;
  const param = fault.param === "" ? null : bodyField(fault.param);
  return { status, headers: retryHeaders(fault), body: { error: { message, param, ...name } } };
}

/** What this interface calls a field that a fault names as gRPC does. */
function bodyField(param: string): string {
  if (param === "session_id") return "isthmus.session";
  return param === "tenant" || /^policy\b/.test(param) ? `isthmus.${param}` : param;
}

/** The first issue that a schema has with `json`, as OpenAI would put it. */
export function schemaError(issues: readonly z.core.$ZodIssue[], json: unknown): RequestError {
  const issue = issues[0];
  if (issue === undefined) return new RequestError(400, "invalid_value", "Invalid request");
  const param = fieldName(issue.path);
  if (issue.code === "unrecognized_keys") {
    const unknown = fieldName([...issue.path, issue.keys[0] ?? ""]);
    const message = `Unrecognized request argument supplied: ${unknown}`;
    return new RequestError(400, "unknown_parameter", message, unknown);
  }
  if (valueAt(json, issue.path) === undefined) {
    const message = `Missing required parameter: '${param}'.`;
    return new RequestError(400, "missing_required_parameter", message, param);
  }
  const message = `Invalid '${param}': ${issue.message}`;
  const named: unknown = issue.code === "custom" ? issue.params?.code : undefined;
  const usual = issue.code === "invalid_type" ? "invalid_type" : "invalid_value";
  return new RequestError(400, typeof named === "string" ? named : usual, message, param);
}

function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  let value = json;
  for (const key of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = Object.hasOwn(value, key) ? (value as Record<PropertyKey, unknown>)[key] : undefined;
  }
  return value;
}

function retryHeaders(fault: Fault): Record<string, string> {
  const { http, retriable } = fault.kind;
  if (!retriable || (http !== 429 && http !== 503)) return {};
  const afterMs = fault.retryAfterMs || RETRY_AFTER_DEFAULT_MS;
  return {
    "retry-after": String(Math.max(1, Math.ceil(afterMs / 1000))),
    "retry-after-ms": String(Math.ceil(afterMs)), // the openai package prefers it
  };
}

const NAME_CHARS_MAX = 200;

/** messages[0].content, as OpenAI writes paths. */
function fieldName(path: readonly PropertyKey[]): string {
  let name = "";
  for (const key of path) {
    if (typeof key === "number") name += `[${key}]`;
    else name += name === "" ? String(key) : `.${String(key)}`;
  }
  return name.slice(0, NAME_CHARS_MAX).toWellFormed();
}
