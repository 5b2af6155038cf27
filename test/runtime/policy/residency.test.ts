// Where requests may be served: by the one rule, and by what operators add to requests' own.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import fc from "fast-check";
import { Fault } from "../../../proto/fault.ts";
import { PolicySchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { type PolicyBook, policyFor } from "../../../runtime/policy/policy-defaults.ts";
import { residencyRefusal } from "../../../runtime/policy/residency.ts";

const names = fc.uniqueArray(fc.constantFrom("eu", "us", "ap"));
const legal = fc.uniqueArray(fc.constantFrom("gdpr", "ccpa", "appi"));

test("a region may serve what names it or nobody, with a label asked for where one is", (t) => {
  t.is(residencyRefusal(undefined, "us", []), null);
  const rule = { regions: ["eu", "us"], jurisdictions: ["gdpr"] };
  t.is(residencyRefusal(rule, "eu", ["gdpr", "x"]), null);
  t.is(residencyRefusal(rule, "ap", ["gdpr"]), "policy.regions = eu, us leaves out ap");
  const told = residencyRefusal(rule, "us", []);
  t.is(told, "policy.jurisdictions = gdpr, and us carries none");
});

test("with an operator's rules a request is served only where both allow it", (t) => {
  const rule = fc.record({ regions: names, jurisdictions: legal });
  fc.assert(
    fc.property(rule, rule, rule, legal, (own, tenantRule, modelRule, carried) => {
      const book: PolicyBook = {
        everybody: {},
        tenants: { t: tenantRule },
        models: { m: modelRule },
      };
      const request = { model: "m", tenant: "t", policy: create(PolicySchema, own) };
      for (const region of ["eu", "us", "ap"]) {
        let merged: ReturnType<typeof policyFor>;
        try {
          merged = policyFor(request, book);
        } catch (thrown) {
          t.true(thrown instanceof Fault && thrown.code === "failed-precondition");
          return;
        }
        if (residencyRefusal(merged, region, carried) !== null) continue;
        for (const one of [own, tenantRule, modelRule]) {
          t.is(residencyRefusal(one, region, carried), null);
        }
      }
    }),
    { seed: 31, numRuns: 1000 },
  );
});

test("what the request says itself holds, what it leaves open comes from the operator", (t) => {
  const book: PolicyBook = {
    everybody: { msPerGram: 3, hedge: true },
    tenants: { strict: { regions: ["eu"], gpuRequired: true } },
    models: {},
  };
  const own = create(PolicySchema, { msPerGram: 7 });
  t.like(policyFor({ model: "m", tenant: "", policy: own }, book), { msPerGram: 7, hedge: true });
  t.like(policyFor({ model: "m", tenant: "strict" }, book), {
    ...{ regions: ["eu"], gpuRequired: true, msPerGram: 3 },
  });
  t.deepEqual(policyFor({ model: "m", tenant: "constructor" }, book).regions, []);
  const elsewhere = create(PolicySchema, { regions: ["us"] });
  const fault = t.throws(
    () => policyFor({ model: "m", tenant: "strict", policy: elsewhere }, book),
    {
      instanceOf: Fault,
    },
  );
  t.is(fault.code, "failed-precondition");
  t.is(fault.param, "policy.regions");
});
