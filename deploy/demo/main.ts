// Gives a mesh in containers what `npm start` gives the local one:
//   demo publish --coordinator URL --dir DIR       the demo model, once for a folder
//   demo examples --edge NAME --url URL            an edge's private examples, in its own container
import { parseArgs } from "node:util";
import { composeTopology } from "../compose/topology.ts";
import { privateExamples, privateShares } from "../local/examples.ts";
import { resolveModel } from "../local/model-source.ts";
import { seedMesh } from "../local/seed.ts";

const EXIT_USAGE = 2;
const IMPORT_MAX_MS = 120_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    coordinator: { type: "string" },
    dir: { type: "string" },
    edge: { type: "string" },
    url: { type: "string" },
  },
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);

if (positionals[0] === "publish") await publish();
else if (positionals[0] === "examples") await giveExamples();
else fail("say what to do: publish or examples");

async function publish(): Promise<void> {
  const { coordinator, dir } = values;
  if (coordinator === undefined || dir === undefined) return fail("--coordinator URL --dir DIR");
  const source = await resolveModel(undefined, dir);
  await seedMesh(coordinator, source, dir, say);
  say(`${source.model} is published`);
}

/** The edge takes examples from its own machine alone: over the loopback address. */
async function giveExamples(): Promise<void> {
  const { edge, url } = values;
  if (edge === undefined || url === undefined) return fail("examples needs --edge and --url");
  const share = privateShares(composeTopology()).get(edge);
  if (share === undefined) return fail(`there are no examples for an edge "${edge}"`);
  const lines = privateExamples(share).map((example) => JSON.stringify(example));
  const response = await fetch(`${url}/v1/examples?model=commands`, {
    method: "POST",
    body: lines.join("\n"),
    signal: AbortSignal.timeout(IMPORT_MAX_MS),
  });
  const answer = await response.text();
  if (!response.ok) return fail(`${edge} took no examples: ${answer}`);
  say(`${edge}: ${lines.length} examples of ${share.dialect}`);
}

function fail(message: string): void {
  process.stderr.write(`demo: ${message}\n`);
  process.exitCode = EXIT_USAGE;
}
