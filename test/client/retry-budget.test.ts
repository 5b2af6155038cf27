// A client's second tries are a share of its requests.
import test from "ava";
import { RetryBudget } from "../../client/retry-budget.ts";

test("second tries are bounded by what was saved and a share of the requests", (t) => {
  const budget = new RetryBudget();
  let tries = 0;
  const spend = () => {
    while (budget.withdraw()) tries += 1;
    return tries;
  };
  const saved = spend();
  t.true(saved > 0 && saved < 100);
  for (let n = 0; n < 100; n += 1) {
    budget.deposit();
    spend();
  }
  t.true(tries - saved > 10 && tries - saved < 30, `${tries - saved} for 100 requests`);
  for (let n = 0; n < 100_000; n += 1) budget.deposit();
  const before = tries;
  t.is(spend() - before, saved, "no more than that is ever saved up");
});
