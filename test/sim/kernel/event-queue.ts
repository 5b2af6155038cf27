// The events of a simulation in the order of their times; those of one instant in the order in
// which they were pushed. A timing wheel over typed arrays: tens of millions of events a run, and
// none of them may cost an allocation.

/** Finer than this, events of one bucket are sorted. */
const BUCKET_MS = 0.25;
const BUCKETS = 16_384;
const BUCKET_MASK = BUCKETS - 1;
const NONE = -1;

export type Handler = (subject: number, payload: unknown) => void;

/** A callback that can be taken back until it has run. */
export class ScheduledCall {
  callback: (() => void) | null;

  constructor(callback: () => void) {
    this.callback = callback;
  }

  cancel(): void {
    this.callback = null;
  }
}

export class EventQueue {
  nowMs = 0;
  /** Events handled so far. */
  handled = 0;
  /** Set by whoever settles a promise: the loop lets promises run before the next event. */
  hasPromises = false;
  readonly #handlers: Handler[] = [];
  #times = new Float64Array(1 << 16);
  #orders = new Float64Array(1 << 16);
  #kinds = new Uint8Array(1 << 16);
  #subjects = new Int32Array(1 << 16);
  #nexts = new Int32Array(1 << 16);
  readonly #payloads: unknown[] = [];
  #free = NONE;
  #used = 0;
  #order = 0;
  #pending = 0;
  readonly #heads = new Int32Array(BUCKETS).fill(NONE);
  /** The bucket under way, counted from the start of time. */
  #tick = 0;
  /** Its events, sorted from #at on. */
  readonly #current: number[] = [];
  #at = 0;
  /** Events beyond the wheel, as a heap. */
  readonly #far: number[] = [];
  readonly #call: number;
  readonly #bucketMs: number;

  /** Wider buckets for runs of days with few events. */
  constructor(bucketMs = BUCKET_MS) {
    this.#bucketMs = bucketMs;
    this.#call = this.register((_, payload) => {
      const scheduled = payload as ScheduledCall;
      const { callback } = scheduled;
      scheduled.callback = null;
      callback?.();
    });
  }

  get pending(): number {
    return this.#pending;
  }

  /** Names a kind of event by who handles it. */
  register(handler: Handler): number {
    this.#handlers.push(handler);
    return this.#handlers.length - 1;
  }

  /** Calls once, `delayMs` from now. */
  after(delayMs: number, callback: () => void): ScheduledCall {
    const scheduled = new ScheduledCall(callback);
    this.push(this.nowMs + Math.max(0, delayMs), this.#call, 0, scheduled);
    return scheduled;
  }

  push(atMs: number, kind: number, subject: number, payload: unknown = null): void {
    const event = this.#take();
    this.#times[event] = Math.max(atMs, this.nowMs);
    this.#orders[event] = this.#order++;
    this.#kinds[event] = kind;
    this.#subjects[event] = subject;
    this.#payloads[event] = payload;
    this.#pending += 1;
    this.#file(event);
  }

  /**
   * Handles events up to and including `untilMs`. Returns true when it got there, false when it
   * stopped because promises have to run first.
   */
  runUntil(untilMs: number): boolean {
    for (;;) {
      while (this.#at < this.#current.length) {
        const event = this.#current[this.#at]!;
        if (this.#times[event]! > untilMs) {
          this.nowMs = untilMs;
          return true;
        }
        this.#at += 1;
        this.#handle(event);
        if (this.hasPromises) return false;
      }
      if (this.#pending === 0 || (this.#tick + 1) * this.#bucketMs > untilMs) {
        this.nowMs = untilMs;
        return true;
      }
      this.#turn();
    }
  }

  #handle(event: number): void {
    this.nowMs = this.#times[event]!;
    this.handled += 1;
    this.#pending -= 1;
    const payload = this.#payloads[event];
    this.#payloads[event] = null;
    this.#nexts[event] = this.#free;
    this.#free = event;
    this.#handlers[this.#kinds[event]!]!(this.#subjects[event]!, payload);
  }

  #turn(): void {
    this.#current.length = 0;
    this.#at = 0;
    this.#tick += 1;
    while (this.#far.length > 0 && this.#tickOf(this.#far[0]!) < this.#tick + BUCKETS) {
      this.#file(this.#popFar());
    }
    const bucket = this.#tick & BUCKET_MASK;
    for (let event = this.#heads[bucket]!; event !== NONE; event = this.#nexts[event]!) {
      this.#current.push(event);
    }
    this.#heads[bucket] = NONE;
    if (this.#current.length > 1) this.#sortCurrent();
  }

  /** Buckets hold the latest first: nearly sorted once they are turned round. */
  #sortCurrent(): void {
    const current = this.#current.reverse();
    for (let k = 1; k < current.length; k += 1) {
      const event = current[k]!;
      let at = k;
      while (at > 0 && this.#isBefore(event, current[at - 1]!)) {
        current[at] = current[at - 1]!;
        at -= 1;
      }
      current[at] = event;
    }
  }

  #file(event: number): void {
    const tick = this.#tickOf(event);
    if (tick <= this.#tick) this.#insert(event);
    else if (tick >= this.#tick + BUCKETS) this.#pushFar(event);
    else {
      const bucket = tick & BUCKET_MASK;
      this.#nexts[event] = this.#heads[bucket]!;
      this.#heads[bucket] = event;
    }
  }

  /** Into the bucket under way, behind all that come before it. */
  #insert(event: number): void {
    const current = this.#current;
    let at = current.length;
    current.push(event);
    while (at > this.#at && this.#isBefore(event, current[at - 1]!)) {
      current[at] = current[at - 1]!;
      at -= 1;
    }
    current[at] = event;
  }

  #tickOf(event: number): number {
    return Math.floor(this.#times[event]! / this.#bucketMs);
  }

  #isBefore(left: number, right: number): boolean {
    const difference = this.#times[left]! - this.#times[right]!;
    return difference < 0 || (difference === 0 && this.#orders[left]! < this.#orders[right]!);
  }

  #pushFar(event: number): void {
    const far = this.#far;
    let at = far.length;
    far.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(event, far[parent]!)) break;
      far[at] = far[parent]!;
      at = parent;
    }
    far[at] = event;
  }

  #popFar(): number {
    const far = this.#far;
    const top = far[0]!;
    const last = far.pop()!;
    if (far.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= far.length) break;
      if (child + 1 < far.length && this.#isBefore(far[child + 1]!, far[child]!)) child += 1;
      if (!this.#isBefore(far[child]!, last)) break;
      far[at] = far[child]!;
      at = child;
    }
    far[at] = last;
    return top;
  }

  #take(): number {
    if (this.#free !== NONE) {
      const event = this.#free;
      this.#free = this.#nexts[event]!;
      return event;
    }
    if (this.#used === this.#times.length) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    const size = this.#times.length * 2;
    const grown = <T extends Float64Array | Int32Array | Uint8Array>(next: T, old: T): T => {
      next.set(old);
      return next;
    };
    this.#times = grown(new Float64Array(size), this.#times);
    this.#orders = grown(new Float64Array(size), this.#orders);
    this.#kinds = grown(new Uint8Array(size), this.#kinds);
    this.#subjects = grown(new Int32Array(size), this.#subjects);
    this.#nexts = grown(new Int32Array(size), this.#nexts);
  }
}
