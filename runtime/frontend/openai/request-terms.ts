// What a caller asks of the mesh beside the completion itself: its session, its tenant, how urgent
// it is and where it may be served. OpenAI has no fields for these, so they travel in the object
// `isthmus` of the body; a session and a tenant may come as headers instead, which a proxy can set.
import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { z } from "zod";
import { type PolicySchema, Priority } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { namePattern } from "../../../proto/ids.ts";
import { limits, sessionPattern, tenantPattern } from "../request-rules.ts";
import { RequestError } from "./error-answer.ts";
import { optional } from "./request-fields.ts";

export const sessionHeader = "x-isthmus-session";
export const tenantHeader = "x-isthmus-tenant";

const sessionName = z.string().regex(sessionPattern);
const tenantName = z.string().regex(tenantPattern);
const places = z.array(z.string().regex(namePattern)).max(limits.policyNamesMax);
const weight = z.number().min(0).max(limits.policyWeightMax);

const policy = z.strictObject({
  regions: optional(places),
  jurisdictions: optional(places),
  gpu_required: optional(z.boolean()),
  hedge: optional(z.boolean()),
  ms_per_gram: optional(weight),
  ms_per_cost: optional(weight),
});

/** The object `isthmus` of a completion request. */
export const completionTerms = z.strictObject({
  session: optional(sessionName),
  tenant: optional(tenantName),
  priority: optional(z.enum(["interactive", "batch"])),
  policy: optional(policy),
});

/** The object `isthmus` of an embeddings request, which has neither a session nor a queue. */
export const embeddingTerms = completionTerms.pick({ tenant: true, policy: true }).strict();

interface TermsBody {
  readonly isthmus?: z.output<typeof completionTerms> | null | undefined;
  readonly user?: string | null | undefined;
}

/** Fields of a GenerateRequest. */
export interface RequestTerms {
  readonly sessionId: string;
  readonly tenant: string;
  readonly priority: Priority;
  readonly policy?: MessageInitShape<typeof PolicySchema>;
}

const priorities = { interactive: Priority.INTERACTIVE, batch: Priority.BATCH } as const;

/**
 * Puts together what the body and the headers say. A name that both give must be the same in both,
 * so that a proxy which sets the header also decides it.
 * Faults: throws a RequestError that names the field or the header.
 */
export function termsOf(body: TermsBody, headers: IncomingHttpHeaders): RequestTerms {
  const { session, tenant, priority, policy: rules } = body.isthmus ?? {};
  const named = oneOf(tenant, headers[tenantHeader], tenantPattern, "tenant", tenantHeader);
  return {
    sessionId: oneOf(session, headers[sessionHeader], sessionPattern, "session", sessionHeader),
    tenant: named || tenantOfUser(body.user),
    priority: priority == null ? Priority.UNSPECIFIED : priorities[priority],
    ...(rules != null && {
      policy: {
        regions: rules.regions ?? [],
        jurisdictions: rules.jurisdictions ?? [],
        gpuRequired: rules.gpu_required ?? false,
        hedge: rules.hedge ?? false,
        msPerGram: rules.ms_per_gram ?? 0,
        msPerCost: rules.ms_per_cost ?? 0,
      },
    }),
  };
}

/** A session is one conversation: it can't go on in several answers at once. */
export function checkSingleAnswer({ sessionId }: RequestTerms, answers: number): void {
  if (sessionId === "" || answers === 1) return;
  throw new RequestError(400, "invalid_value", "A session takes one answer: 'n' must be 1.", "n");
}

function oneOf(
  inBody: string | null | undefined,
  header: string | string[] | undefined,
  pattern: RegExp,
  field: string,
  headerName: string,
): string {
  const inHeader = typeof header === "string" ? header : "";
  if (inHeader !== "" && !pattern.test(inHeader)) {
    throw new RequestError(
      400,
      "invalid_value",
      `Invalid '${headerName}': must match ${pattern}`,
      headerName,
    );
  }
  if (inBody == null || inHeader === "" || inBody === inHeader) return inBody ?? inHeader;
  const message = `'isthmus.${field}' and the header '${headerName}' say different things.`;
  throw new RequestError(400, "invalid_value", message, `isthmus.${field}`);
}

const USER_DIGITS = 16;

/**
 * OpenAI's `user` is an end user of the caller. It stands for the tenant only where none is named,
 * so that an application's users share fairly; as a hash, because it may be somebody's address.
 */
function tenantOfUser(user: string | null | undefined): string {
  if (user == null || user === "") return "";
  const hash = createHash("sha256").update(user, "utf8").digest("hex");
  return `user:${hash.slice(0, USER_DIGITS)}`;
}
