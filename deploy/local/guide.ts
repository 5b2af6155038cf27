// What `npm start` prints once the mesh is up: where everything is, and what to try next.
import { basename } from "node:path";
import type { MeshLayout } from "./layout.ts";

export interface GuideFacts {
  readonly layout: MeshLayout;
  readonly model: string;
  readonly isDemo: boolean;
}

/** The table of endpoints and the first commands to try. */
export function guideText({ layout, model, isDemo }: GuideFacts): string {
  return `\n${endpoints(layout)}\n\n${nextSteps(layout, model, isDemo)}\n`;
}

function endpoints(layout: MeshLayout): string {
  const rows = [["ROLE", "NAME", "HTTP", "GRPC", "NATS"]];
  const { coordinator } = layout;
  rows.push([
    "coordinator",
    "coordinator",
    coordinator.http,
    coordinator.grpc,
    coordinator.natsUrls.join(" "),
  ]);
  for (const region of layout.regions) {
    rows.push(["region", region.name, region.http, region.grpc, region.natsUrls.join(" ")]);
    for (const edge of region.edges) rows.push(["  edge", edge.name, edge.http, edge.grpc, ""]);
  }
  if (layout.wan !== undefined) rows.push(["wan", "wan", layout.wan.http, "", ""]);
  const columns = rows[0]?.map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, at) => cell.padEnd(columns?.[at] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function nextSteps(layout: MeshLayout, model: string, isDemo: boolean): string {
  const gateway = layout.regions[0]?.http ?? "";
  const prompt = isDemo ? "turn on the red light in the kitchen" : "Say hello.";
  const body = JSON.stringify({
    model,
    stream: true,
    messages: [{ role: "user", content: prompt }],
  });
  // The command looks for .isthmus from where it is run; any other folder must be told.
  const dir = basename(layout.shape.dir) === ".isthmus" ? "" : ` --dir ${layout.shape.dir}`;
  const steps = [
    "Try:",
    `  curl -N ${gateway}/v1/chat/completions -H 'content-type: application/json' \\`,
    `    -d '${body}'`,
    `  OPENAI_BASE_URL=${gateway}/v1 OPENAI_API_KEY=none   # for any OpenAI client, as it is`,
    `  npx isthmus chat "${prompt}"${dir}`,
    `  npx isthmus status${dir}`,
  ];
  if (isDemo) {
    const rounds = `npx isthmus rounds start ${model} --rounds 10 --wait${dir}`;
    steps.push(`  ${rounds}   # learns the dialects`);
  }
  const [here, there] = layout.regions;
  if (layout.wan !== undefined && here !== undefined && there !== undefined) {
    steps.push(`  npx isthmus wan cut ${here.name} ${there.name}${dir}   # and heal, ls, set`);
  }
  steps.push(
    "",
    `Logs: ${layout.logDir}    State: ${layout.shape.dir}    Ctrl-C stops everything.`,
  );
  return steps.join("\n");
}
