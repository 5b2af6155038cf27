// Gathers the events of one step into one message, and sends it while the next step computes.
import type { GenerateEvent } from "../engine.ts";
import type { FromChild } from "./child-messages.ts";

export class Outbox {
  readonly #send: (message: FromChild) => void;
  #events: [number, GenerateEvent][] = [];
  #replies: FromChild[] = [];
  #soon = false;

  constructor(send: (message: FromChild) => void) {
    this.#send = send;
  }

  event(id: number, event: GenerateEvent): void {
    this.#events.push([id, event]);
  }

  /** Goes out after the events gathered so far. */
  after(reply: FromChild): void {
    this.#replies.push(reply);
  }

  /**
   * Sends after the next step was handed to llama.cpp's threads, so that writing doesn't hold it
   * up: the library hands over in the coming turn of the event loop, this sends in the one after.
   */
  flushSoon(): void {
    if (this.#soon) return;
    this.#soon = true;
    setImmediate(() => {
      setImmediate(() => {
        this.#soon = false;
        this.flush();
      });
    });
  }

  flush(): void {
    if (this.#events.length > 0) {
      const events = this.#events;
      this.#events = [];
      this.#send({ kind: "events", events });
    }
    if (this.#replies.length === 0) return;
    const replies = this.#replies;
    this.#replies = [];
    for (const reply of replies) this.#send(reply);
  }
}
