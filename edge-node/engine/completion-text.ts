// Turns token ids into text piece by piece: holds back an incomplete UTF-8 character and whatever
// might be the beginning of a stop sequence, so that what is released is never taken back.
// The released text is a function of the ids alone: replaying them reproduces it exactly.

export interface Released {
  readonly text: string;
  /** The stop sequence that ended the text, if one did. */
  readonly stopSequence: string | null;
}

export class CompletionText {
  readonly #stop: readonly string[];
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** Decoded text that may still turn out to belong to a stop sequence. */
  #held = "";

  constructor(stop: readonly string[]) {
    this.#stop = stop;
  }

  /** Takes the bytes of the next token. Requires: no stop sequence was found before. */
  push(piece: Uint8Array): Released {
    this.#held += this.#decoder.decode(piece, { stream: true });
    return this.#release();
  }

  /** Ends the text and releases what was held back. */
  flush(): Released {
    this.#held += this.#decoder.decode();
    const released = this.#release();
    if (released.stopSequence !== null) return released;
    const text = released.text + this.#held;
    this.#held = "";
    return { text, stopSequence: null };
  }

  #release(): Released {
    if (this.#stop.length === 0) return this.#take(this.#held.length, null);
    let at = -1;
    let found: string | null = null;
    for (const stop of this.#stop) {
      const index = this.#held.indexOf(stop);
      if (index >= 0 && (found === null || index < at)) {
        at = index;
        found = stop;
      }
    }
    if (found !== null) return this.#take(at, found);
    return this.#take(this.#held.length - this.#possibleStopLength(), null);
  }

  #take(length: number, stopSequence: string | null): Released {
    const text = this.#held.slice(0, length);
    this.#held = stopSequence === null ? this.#held.slice(length) : "";
    return { text, stopSequence };
  }

  /** Length of the longest end of the held text with which some stop sequence begins. */
  #possibleStopLength(): number {
    let longest = 0;
    for (const stop of this.#stop) {
      const most = Math.min(stop.length - 1, this.#held.length);
      for (let length = most; length > longest; length--) {
        if (this.#held.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
