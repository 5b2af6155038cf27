// One edge's own HTTP interface, as the command calls it. It never goes through the mesh: what is
// private to an edge is given to that edge alone.
import { checkedUrl, findEdges, type MeshSearch } from "./mesh-file.ts";
import { requestRole } from "./role-request.ts";
import { UsageError } from "./usage-error.ts";

const REQUEST_TIMEOUT_MS = 120_000;

export class EdgeClient {
  readonly address: string;
  readonly #signal: AbortSignal;

  constructor(address: string, signal: AbortSignal) {
    this.address = address;
    this.#signal = signal;
  }

  /** Faults: the edge's own, or `unavailable`. */
  async request<T>(method: string, path: string, body?: string | Uint8Array<ArrayBuffer>) {
    const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
    const init = { method, signal, ...(body !== undefined && { body }) };
    const response = await requestRole("the edge", this.address, path, init);
    return (await response.json()) as T;
  }
}

/** The edge that is meant: by address, by its name in mesh.json, or the only one there. */
export function findEdge(command: string, edge: string | undefined, search: MeshSearch): string {
  if (edge?.includes("://")) return checkedUrl(edge, "--edge");
  const edges = findEdges(search);
  const names = edges.map(({ name }) => name).join(", ");
  const found = edge === undefined ? edges : edges.filter(({ name }) => name === edge);
  const [only] = found;
  if (only !== undefined && found.length === 1) return only.http;
  if (edges.length === 0) {
    throw new UsageError(`${command}: no edge is known here`, "Say which: --edge http://HOST:PORT");
  }
  if (edge === undefined) throw new UsageError(`${command}: say which with --edge: ${names}`);
  throw new UsageError(`${command}: there is no edge ${edge} here (${names})`);
}
