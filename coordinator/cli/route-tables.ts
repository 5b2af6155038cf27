// An explanation of routing as people read it: a line of what was asked, then a row for each edge
// and each region with its terms in milliseconds and why it lost.
import { type Terminal, table } from "./terminal.ts";

type Terms = Readonly<Record<string, number>>;

/** As a region's gateway tells it; more fields may be there. */
export interface RouteExplanation {
  readonly region: string;
  readonly model: string;
  readonly promptTokens: number;
  readonly expectedTokens: number;
  readonly chosen: string | null;
  readonly fault?: { readonly code: string; readonly message: string };
  readonly edges: readonly {
    readonly edge: string;
    readonly reason: string;
    readonly cachedTokens?: number;
    readonly predictedTtftMs?: number;
    readonly predictedTotalMs?: number;
    readonly terms?: Terms;
  }[];
  readonly peers: readonly {
    readonly region: string;
    readonly via?: string;
    readonly reason: string;
    readonly predictedTotalMs?: number;
    readonly terms?: Terms;
  }[];
}

/** What is rare shares a column. */
const otherTerms = ["penaltyMs", "versionMs", "policyMs"];
const edgeTerms = ["rttMs", "queueMs", "loadMs", "prefillMs", "decodeMs", "generationMs"];
const peerTerms = ["rttMs", "queueMs", "prefillMs", "generationMs"];
const edgeHeader = ["edge", "ttft", "total", "rtt", "queue", "load", "prefill", "step"];
const peerHeader = ["region", "total", "rtt", "queue", "prefill", "generation", "other"];

export function printRoutes(explanation: RouteExplanation, terminal: Terminal): void {
  const { region, model, promptTokens, expectedTokens, chosen, fault } = explanation;
  const sizes = `${promptTokens} tokens to read, about ${Math.round(expectedTokens)} to make`;
  const outcome = chosen ?? `${fault?.code}: ${fault?.message}`;
  terminal.print(`${model} from ${region}: ${sizes} → ${outcome}`);
  terminal.print("Predicted milliseconds:");
  const edges = explanation.edges.map(({ edge, reason, terms, ...figures }) => [
    ...[edge, ms(figures.predictedTtftMs), ms(figures.predictedTotalMs)],
    ...edgeTerms.map((term) => ms(terms?.[term])),
    ...[others(terms), terms === undefined ? "" : String(figures.cachedTokens ?? 0), reason],
  ]);
  terminal.print(table([...edgeHeader, "generation", "other", "cached", "why"], edges));
  if (explanation.peers.length === 0) return;
  const peers = explanation.peers.map(({ region: name, via, reason, predictedTotalMs, terms }) => [
    ...[via === undefined ? name : `${name} by ${via}`, ms(predictedTotalMs)],
    ...peerTerms.map((term) => ms(terms?.[term])),
    ...[others(terms), reason],
  ]);
  terminal.print(`\n${table([...peerHeader, "why"], peers)}`);
}

function others(terms: Terms | undefined): string {
  return terms === undefined
    ? ""
    : ms(otherTerms.reduce((sum, term) => sum + (terms[term] ?? 0), 0));
}

function ms(value: number | undefined): string {
  if (value === undefined) return "";
  return value > 0 && value < 10 ? value.toFixed(1) : value.toFixed(0);
}
