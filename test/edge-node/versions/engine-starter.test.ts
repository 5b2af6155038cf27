// An engine that has just been started knows how fast it is before anybody has asked it anything.
import test from "ava";
import { engineStarter } from "../../../edge-node/versions/engine-starter.ts";
import { silentLog } from "../../../runtime/log.ts";
import { randomModel } from "../../models/tiny-model.ts";
import { eventually } from "../../support/eventually.ts";

test("a started engine has measured its rates, in a small context too", async (t) => {
  const settings = { slots: 2, contextSize: 64, threads: 1, gpu: false };
  const start = engineStarter(settings, silentLog(), () => {});
  const modelPath = await randomModel();
  const engine = await start({ model: "m", modelPath, version: { id: "m@1", adapters: [] } });
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
