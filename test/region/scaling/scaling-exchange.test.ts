// Demand in a region with several gateways, as each of them puts it together.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { ScalingShareSchema } from "../../../proto/gen/isthmus/v1/scaling_pb.ts";
import { noDemand } from "../../../region/scaling/demand-counts.ts";
import { ScalingExchange } from "../../../region/scaling/scaling-exchange.ts";

const own = { held: 1, ...noDemand, routed: 10 };

function share(sequence: bigint, routed: bigint, held = 0, incarnation = 1n, instance = "b") {
  const models = [{ model: "m", held, routed, turnedAway: routed / 2n }];
  return create(ScalingShareSchema, { region: "us", instance, incarnation, sequence, models });
}

test("what waits is summed over the gateways that are there", (t) => {
  const exchange = new ScalingExchange();
  exchange.take(share(1n, 0n, 2), 0);
  exchange.take(share(1n, 0n, 4, 1n, "c"), 3000);
  t.is(exchange.demand("m", own, 3000).held, 7);
  t.is(exchange.demand("m", own, 4000).held, 5);
  t.is(exchange.demand("other", own, 4000).held, 1);
});

test("counts only grow: from when a gateway was first heard, and across its restart", (t) => {
  const exchange = new ScalingExchange();
  t.is(exchange.take(share(1n, 100n), 0), null);
  t.is(exchange.demand("m", own, 0).routed, 10);
  exchange.take(share(2n, 104n), 1000);
  t.like(exchange.demand("m", own, 1000), { routed: 14, turnedAway: 2 });
  exchange.take(share(1n, 3n, 0, 2n), 5000);
  t.is(exchange.demand("m", own, 5000).routed, 17);
});

test("an older share is not believed", (t) => {
  const exchange = new ScalingExchange();
  exchange.take(share(5n, 10n, 3, 2n), 0);
  t.is(exchange.take(share(4n, 20n, 9, 2n), 100), "an older share");
  t.is(exchange.take(share(9n, 20n, 9, 1n), 100), "an older share");
  t.is(exchange.demand("m", own, 100).held, 4);
});
