// What this region has sent to each other region and model, against what that region's last summary
// can have counted.

interface Account {
  inFlight: number;
  /** In flight when the last summary came, and so part of what it said. */
  counted: number;
}

export class SpillLedger {
  /** By region, then by model. */
  readonly #accounts = new Map<string, Map<string, Account>>();

  /** Notes a request sent; call the result once when it is over, however it ended. */
  begin(region: string, model: string): () => void {
    const models = this.#accounts.get(region) ?? new Map<string, Account>();
    this.#accounts.set(region, models);
    const account = models.get(model) ?? { inFlight: 0, counted: 0 };
    models.set(model, account);
    account.inFlight += 1;
    let isOpen = true;
    return () => {
      if (isOpen) account.inFlight -= 1;
      isOpen = false;
    };
  }

  /** A summary of the region has come: what is in flight there now is in its figures. */
  counted(region: string): void {
    const models = this.#accounts.get(region);
    if (models === undefined) return;
    for (const [model, account] of models) {
      account.counted = account.inFlight;
      if (account.inFlight === 0) models.delete(model);
    }
  }

  /** Requests more (or, where some ended, fewer) than the last summary says. */
  sentSince(region: string, model: string): number {
    const account = this.#accounts.get(region)?.get(model);
    return account === undefined ? 0 : account.inFlight - account.counted;
  }
}
