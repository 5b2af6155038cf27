// The policy of a request as it holds: its own, with what the operator has set for everybody, for
// its tenant and for its model. The stricter residency wins; weights are the request's own if any.
import { create } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import { type Policy, PolicySchema } from "../../proto/gen/isthmus/v1/inference_pb.ts";

export type PolicyDefaults = Readonly<Partial<Omit<Policy, "$typeName" | "$unknown">>>;

export interface PolicyBook {
  readonly everybody: PolicyDefaults;
  readonly tenants: Readonly<Record<string, PolicyDefaults>>;
  readonly models: Readonly<Record<string, PolicyDefaults>>;
}

interface Ruled {
  readonly model: string;
  readonly tenant: string;
  readonly policy?: Policy | undefined;
}

/** Faults: `failed-precondition` when the rules together allow nothing. */
export function policyFor({ model, tenant, policy }: Ruled, book: PolicyBook): Policy {
  const layers = [book.everybody, ownOf(book.models, model), ownOf(book.tenants, tenant)];
  let merged = policy ?? create(PolicySchema);
  for (const layer of layers) merged = mergedWith(merged, layer);
  return merged;
}

function mergedWith(own: Policy, layer: PolicyDefaults): Policy {
  return create(PolicySchema, {
    regions: stricter("policy.regions", own.regions, layer.regions ?? []),
    jurisdictions: stricter("policy.jurisdictions", own.jurisdictions, layer.jurisdictions ?? []),
    gpuRequired: own.gpuRequired || (layer.gpuRequired ?? false),
    hedge: own.hedge || (layer.hedge ?? false),
    msPerGram: own.msPerGram || (layer.msPerGram ?? 0),
    msPerCost: own.msPerCost || (layer.msPerCost ?? 0),
  });
}

/** What both allow; an empty list allows everything. */
function stricter(param: string, own: readonly string[], other: readonly string[]): string[] {
  if (own.length === 0 || other.length === 0) return [...own, ...other];
  const both = own.filter((name) => other.includes(name));
  if (both.length > 0) return both;
  const message = `${param} = ${own.join(", ")}, but the operator allows ${other.join(", ")} only`;
  throw new Fault("failed-precondition", message, { param });
}

function ownOf(layers: Readonly<Record<string, PolicyDefaults>>, name: string): PolicyDefaults {
  return Object.hasOwn(layers, name) ? (layers[name] ?? {}) : {};
}
