// What this region has sent to each edge and model, against what the edge's last report counted.

interface Account {
  inFlight: number;
  /** In flight when the last report came, and so part of what it said. */
  reported: number;
}

export class DispatchLedger {
  readonly #edges = new Map<string, Map<string, Account>>();

  /** Notes a request sent; call the result once when it is over, however it ended. */
  begin(edge: string, model: string): () => void {
    const models = this.#edges.get(edge) ?? new Map<string, Account>();
    this.#edges.set(edge, models);
    const account = models.get(model) ?? { inFlight: 0, reported: 0 };
    models.set(model, account);
    account.inFlight += 1;
    let open = true;
    return () => {
      if (open) account.inFlight -= 1;
      open = false;
    };
  }

  /** The edge has reported: what is in flight now is in its figures. */
  reported(edge: string): void {
    const models = this.#edges.get(edge);
    if (models === undefined) return;
    for (const [model, account] of models) {
      account.reported = account.inFlight;
      if (account.inFlight === 0) models.delete(model);
    }
  }

  /** Requests more (or, where some ended, fewer) than the last report says. */
  unreported(edge: string, model: string): number {
    const account = this.#edges.get(edge)?.get(model);
    return account === undefined ? 0 : account.inFlight - account.reported;
  }

  /** Forgets an edge, or its earlier process. */
  forget(edge: string): void {
    this.#edges.delete(edge);
  }
}
