// How many second tries a client allows itself: a share of its requests, so that a mesh in trouble
// gets little more than its usual load from it.

/** What each request adds, in tries. */
const SHARE = 0.2;
/** Tries that may be saved up, and that a new client has. */
const SAVED_MAX = 20;

export class RetryBudget {
  #tries = SAVED_MAX;

  /** A request begins. */
  deposit(): void {
    this.#tries = Math.min(this.#tries + SHARE, SAVED_MAX);
  }

  /** Takes one try, if there is one. */
  withdraw(): boolean {
    if (this.#tries < 1) return false;
    this.#tries -= 1;
    return true;
  }
}
