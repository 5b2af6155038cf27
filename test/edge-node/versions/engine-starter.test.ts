// An engine that has just been started knows how fast it is before anybody has asked it anything.
import test from "ava";
import { engineStarter } from "../../../edge-node/versions/engine-starter.ts";
import { silentLog } from "../../../runtime/log.ts";
import { randomModel } from "../../models/tiny-model.ts";
import { eventually } from "../../support/eventually.ts";
import { childrenOf } from "../../support/process-usage.ts";

const first = { id: "m@1", adapters: [] };

test.serial("a started engine has measured its rates, in a small context too", async (t) => {
  const settings = { slots: 2, contextSize: 64, threads: 1, gpu: false };
  const start = engineStarter(settings, silentLog(), () => {});
  const modelPath = await randomModel();
  const { signal } = new AbortController();
  const engine = await start({ model: "m", modelPath, version: first, signal });
  try {
    await eventually("both rates are known", () => {
      const { prefillTokensPerSecond, decodeTokensPerSecondPerStream } = engine.stats();
      return prefillTokensPerSecond > 0 && decodeTokensPerSecondPerStream > 0;
    });
    t.is(engine.stats().active, 0, "and nothing of it is left running");
  } finally {
    await engine.close();
  }
});

test.serial("an engine that is given up while it starts leaves no process behind", async (t) => {
  const settings = { slots: 2, contextSize: 64, threads: 1, gpu: false };
  const start = engineStarter(settings, silentLog(), () => {});
  const modelPath = await randomModel();
  const before = childrenOf(process.pid);
  const attempt = new AbortController();
  const { signal } = attempt;
  const starting = start({ model: "m", modelPath, version: first, signal });
  const started = await eventually("its process is there", () =>
    childrenOf(process.pid).find((pid) => !before.includes(pid)),
  );
  const reason = new Error("another version is wanted");
  attempt.abort(reason);
  t.is(await t.throwsAsync(starting), reason);
  t.false(childrenOf(process.pid).includes(started));
  await t.throwsAsync(start({ model: "m", modelPath, version: first, signal }), { is: reason });
});
