// What a region tells over HTTP about the sessions that it keeps.
import { Hono } from "hono";
import { asFault, Fault } from "../../proto/fault.ts";
import type { ChatMessage } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Session } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { errorAnswer } from "../../runtime/frontend/openai/error-answer.ts";
import { tenantHeader } from "../../runtime/frontend/openai/request-terms.ts";
import { sessionPattern, tenantPattern } from "../../runtime/frontend/request-rules.ts";
import type { SessionKeeper } from "./session-keeper.ts";
import type { SessionName } from "./session-rules.ts";

/** GET and DELETE /v1/sessions/:id; another tenant than the common one is named by its header. */
export function sessionRoutes(keeper: SessionKeeper): Hono {
  const app = new Hono();
  app.onError((thrown) => {
    const { status, headers, body } = errorAnswer(asFault(thrown));
    return Response.json(body, { status, headers });
  });
  app.get("/v1/sessions/:id", async (c) => {
    const name = nameOf(c.req.param("id"), c.req.header(tenantHeader));
    const session = await keeper.find(name);
    if (session === null) throw unknownSession(name);
    return c.json(sessionBody(session));
  });
  app.delete("/v1/sessions/:id", async (c) => {
    const name = nameOf(c.req.param("id"), c.req.header(tenantHeader));
    if (!(await keeper.forget(name))) throw unknownSession(name);
    return c.json({ id: name.id, object: "session", deleted: true });
  });
  return app;
}

function nameOf(id: string, tenant = ""): SessionName {
  if (!sessionPattern.test(id)) {
    throw new Fault("invalid-argument", `a session must match ${sessionPattern}`, { param: "id" });
  }
  if (tenant !== "" && !tenantPattern.test(tenant)) {
    const what = `${tenantHeader} must match ${tenantPattern}`;
    throw new Fault("invalid-argument", what, { param: tenantHeader });
  }
  return { id, tenant };
}

function unknownSession({ id }: SessionName): Fault {
  return new Fault("not-found", `no session ${id} is kept here`, { param: "id" });
}

function sessionBody({ id, tenant, revision, updatedMs, region, policy, messages }: Session) {
  return {
    ...{ id, object: "session", tenant, region },
    revision: Number(revision),
    updated_ms: Number(updatedMs),
    policy: {
      regions: policy?.regions ?? [],
      jurisdictions: policy?.jurisdictions ?? [],
    },
    messages: messages.map(messageBody),
  };
}

function messageBody({ role, content, toolCalls, toolCallId }: ChatMessage) {
  return {
    role,
    content,
    ...(toolCalls !== "" && { tool_calls: parsed(toolCalls) }),
    ...(toolCallId !== "" && { tool_call_id: toolCallId }),
  };
}

/** What a gRPC caller sent as JSON need not be any. */
function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return json;
  }
}
