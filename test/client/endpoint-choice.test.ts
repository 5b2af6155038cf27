// Where a request of the SDK may go, and where it goes next.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { type Directory, emptyDirectory, failed, learn, measured } from "../../client/directory.ts";
import {
  candidatesFor,
  nextOf,
  policyFault,
  type RequestNeeds,
} from "../../client/endpoint-choice.ts";
import { GetTopologyResponseSchema } from "../../proto/gen/isthmus/v1/discovery_pb.ts";

const labels: Record<string, string[]> = { eu: ["gdpr"], us: [], ap: ["pdpa"] };
const rtts: Record<string, number> = { us: 5, eu: 40, ap: 90 };

/** Three regions with two edges each; `predicted` by edge, in milliseconds. */
function mesh(predicted: Record<string, number> = {}): Directory {
  const regions = Object.keys(rtts).map((region) => ({
    region,
    grpc: `${region}:1`,
    reachable: true,
    jurisdictions: labels[region]!,
    edges: [1, 2].map((n) => {
      const edge = `${region}-${n}`;
      const predictedTtftMs = edge in predicted ? { m: predicted[edge]! } : {};
      return { edge, region, grpc: `${edge}:1`, ready: true, models: ["m"], predictedTtftMs };
    }),
  }));
  let directory = learn(emptyDirectory(), create(GetTopologyResponseSchema, { regions }));
  for (const { key, region } of directory.endpoints.values()) {
    directory = measured(directory, key, rtts[region]!);
  }
  return directory;
}

const keys = (directory: Directory, needs: Partial<RequestNeeds> = {}) =>
  candidatesFor(directory, { model: "m", ...needs }).map(({ key }) => key);
const only = (regions: string[], jurisdictions: string[] = []) => ({ regions, jurisdictions });

test("the soonest first token counts: the way there and what is predicted there", (t) => {
  t.deepEqual(keys(mesh({ "us-1": 200, "us-2": 100, "eu-1": 10, "eu-2": 20 })).slice(0, 4), [
    "eu/eu-1",
    "eu/eu-2",
    "ap/ap-1",
    "ap/ap-2",
  ]);
});

test("allowed edges far away come before gateways near by, forbidden edges never", (t) => {
  t.deepEqual(keys(mesh(), { policy: only(["ap"]) }), ["ap/ap-1", "ap/ap-2", "ap", "us", "eu"]);
  t.deepEqual(keys(mesh(), { policy: only([], ["gdpr"]) }).slice(0, 3), [
    "eu/eu-1",
    "eu/eu-2",
    "eu",
  ]);
  let lost = mesh();
  for (const key of ["ap/ap-1", "ap/ap-2", "ap"]) lost = failed(failed(lost, key), key);
  t.deepEqual(keys(lost, { policy: only(["ap"]) }).slice(0, 2), ["us", "eu"], "they may relay");
});

test("a rule that no known region meets is a fault that names it", (t) => {
  const needs = (policy: RequestNeeds["policy"]) => ({ model: "m", policy });
  t.is(policyFault(mesh(), needs(only(["us", "mars"]))), null);
  t.is(policyFault(mesh(), needs(undefined)), null);
  const nowhere = policyFault(mesh(), needs(only(["mars"])));
  t.like(nowhere, { code: "failed-precondition", param: "policy.regions" });
  t.regex(nowhere?.message ?? "", /mars/);
  const lawless = policyFault(mesh(), needs(only([], ["hipaa"])));
  t.like(lawless, { code: "failed-precondition", param: "policy.jurisdictions" });
  t.is(policyFault(emptyDirectory(), needs(only(["mars"]))), null, "nothing is known yet");
});

test("a session goes to gateways alone, from near to far", (t) => {
  t.deepEqual(keys(mesh(), { sessionId: "s" }), ["us", "eu", "ap"]);
  t.deepEqual(keys(mesh(), { sessionId: "s", policy: only(["eu"]) }), ["eu", "us", "ap"]);
});

test("after two failures in a region the next try is in another", (t) => {
  const candidates = candidatesFor(mesh(), { model: "m" });
  const excluded = new Set<string>();
  const tried: string[] = [];
  for (let next = nextOf(candidates, excluded); next; next = nextOf(candidates, excluded)) {
    tried.push(next.key);
    excluded.add(next.key);
  }
  t.deepEqual(tried.slice(0, 6), [
    "us/us-1",
    "us/us-2",
    "eu/eu-1",
    "eu/eu-2",
    "ap/ap-1",
    "ap/ap-2",
  ]);
  t.is(tried.length, candidates.length, "each once all the same");
});

test("of edges that are as good, clients with other salts prefer others", (t) => {
  const topology = create(GetTopologyResponseSchema, {
    regions: [
      {
        ...{ region: "us", grpc: "us:1", reachable: true },
        edges: [1, 2, 3, 4].map((n) => ({
          ...{ edge: `us-${n}`, grpc: `us-${n}:1`, ready: true, models: ["m"] },
        })),
      },
    ],
  });
  const chosen = [0, 0.3, 0.6, 0.99].map((salt) => keys(learn(emptyDirectory(salt), topology))[0]);
  t.deepEqual(chosen, ["us/us-1", "us/us-2", "us/us-3", "us/us-4"]);
});

test("a gateway that answers is tried whatever others say of it", (t) => {
  const topology = create(GetTopologyResponseSchema, {
    regions: ["us", "eu"].map((region) => ({ region, grpc: `${region}:1`, reachable: false })),
  });
  const told = learn(emptyDirectory(), topology);
  t.deepEqual(keys(measured(told, "us", 100)), ["us", "eu"]);
});
