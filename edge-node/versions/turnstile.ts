// Lets one piece of work in at a time, in the order of arrival.

export class Turnstile {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {}); // the next one's turn comes all the same
    return turn;
  }
}
