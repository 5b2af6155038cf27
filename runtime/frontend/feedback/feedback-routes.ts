// POST /v1/feedback, and GET and DELETE /v1/feedback/:id, with errors in OpenAI's terms.
import { randomUUID } from "node:crypto";
import type { HttpBindings } from "@hono/node-server";
import { type Context, Hono } from "hono";
import { z } from "zod";
import type { Clock } from "../../clock.ts";
import type { Log } from "../../log.ts";
import { parseBody } from "../openai/completion-plan.ts";
import { errorAnswer, RequestError } from "../openai/error-answer.ts";
import { readJson } from "../openai/json-body.ts";
import { optional } from "../openai/request-fields.ts";
import { completionName } from "./completion-key.ts";
import {
  CHOICE_MAX,
  type FeedbackPort,
  type FeedbackReceipt,
  type GivenFeedback,
  LESSON_CHARS_MAX,
} from "./feedback-port.ts";

const choice = z.int().min(0).max(CHOICE_MAX);
const text = z.string().min(1).max(LESSON_CHARS_MAX);

const feedbackBody = z.strictObject({
  id: z.string(),
  choice: optional(choice),
  correction: optional(text),
  accepted: optional(
    z.union([text, z.literal(true)], {
      error: `expected true, or a text of 1 to ${LESSON_CHARS_MAX} characters`,
    }),
  ),
  rating: optional(z.number().min(-1).max(1)),
});

export interface FeedbackRoutesOptions {
  readonly port: FeedbackPort;
  readonly clock: Clock;
  readonly log: Log;
}

type Env = { Bindings: HttpBindings };

export function feedbackRoutes({ port, clock, log }: FeedbackRoutesOptions): Hono<Env> {
  const app = new Hono<Env>();
  const answered = (handler: (c: Context<Env>) => Promise<Response>) => async (c: Context<Env>) => {
    try {
      return await handler(c);
    } catch (thrown) {
      return refusal(thrown, log);
    }
  };
  const named = (c: Context<Env>) => completionName(c.req.param("id") ?? "", choiceOf(c));
  app.post(
    "/v1/feedback",
    answered(async (c) => {
      const given = readFeedback(await readJson(c.env.incoming, clock));
      return c.json(receiptBody(await port.give(given)));
    }),
  );
  app.get(
    "/v1/feedback/:id",
    answered(async (c) => c.json(receiptBody(await port.get(named(c))))),
  );
  app.delete(
    "/v1/feedback/:id",
    answered(async (c) => {
      await port.remove(named(c));
      return c.json({ id: c.req.param("id"), object: "feedback.deleted", deleted: true });
    }),
  );
  for (const path of ["/v1/feedback", "/v1/feedback/:id"]) {
    app.all(
      path,
      answered(async (c) => {
        const message = `Not allowed to ${c.req.method} on ${c.req.path}`;
        throw new RequestError(405, "method_not_supported", message);
      }),
    );
  }
  return app;
}

/** Faults: throws a RequestError that names the field, or a Fault for a rule that gRPC shares. */
export function readFeedback(json: unknown): GivenFeedback {
  const body = parseBody(feedbackBody, json);
  const name = completionName(body.id, body.choice ?? 0);
  const { correction, accepted } = body;
  if (correction != null && accepted != null) {
    const message = "Say one of 'correction' and 'accepted', not both.";
    throw new RequestError(400, "invalid_value", message, "accepted");
  }
  if (correction == null && accepted == null && body.rating == null) {
    const message = "Say at least one of 'correction', 'accepted' and 'rating'.";
    throw new RequestError(400, "missing_required_parameter", message, "rating");
  }
  const rating = body.rating ?? null;
  if (correction != null) {
    return { ...name, lesson: { kind: "correction", text: correction.toWellFormed() }, rating };
  }
  if (accepted == null) return { ...name, lesson: null, rating };
  const taken = accepted === true ? null : accepted.toWellFormed();
  return { ...name, lesson: { kind: "accepted", text: taken }, rating };
}

/** A receipt as JSON: what was said of which completion, and where it is kept. */
export function receiptBody(receipt: FeedbackReceipt) {
  return {
    id: receipt.id,
    object: "feedback",
    created: Math.floor(receipt.givenMs / 1000),
    model: receipt.model,
    choice: receipt.choice,
    lesson: receipt.lesson === "" ? null : receipt.lesson,
    rating: receipt.rating,
    isthmus: { version: receipt.version, edge: receipt.edge, region: receipt.region },
  };
}

function choiceOf(c: Context<Env>): number {
  const parsed = choice.safeParse(Number(c.req.query("choice") ?? 0));
  if (parsed.success) return parsed.data;
  throw new RequestError(400, "invalid_value", "Invalid 'choice'.", "choice");
}

const CLIENT_GONE = 499;

function refusal(thrown: unknown, log: Log): Response {
  const requestId = randomUUID();
  const { status, headers, body } = errorAnswer(thrown);
  if (status >= 500) log.warn({ requestId, err: thrown }, "feedback failed");
  // What is left of a body that we refuse to read can't be told from the next request.
  const close = status === 413 || status === 408 ? { connection: "close" } : {};
  const all = { ...headers, ...close, "x-request-id": requestId };
  return Response.json(body, { status: status === CLIENT_GONE ? 400 : status, headers: all });
}
