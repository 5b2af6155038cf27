// What the policies that ours is compared with know of each edge: the same heartbeats, the same
// membership, and what their own gateway has under way there.
import type { Heartbeat } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { MemberStatus } from "../../../region/membership/member.ts";

export class EdgeView {
  readonly edge: string;
  readonly key: string;
  status: MemberStatus = "suspect";
  /** As last reported. */
  active = 0;
  queued = 0;
  slots = 1;
  queueMax = 0;
  hasGpu = false;
  hasReported = false;
  /** Sent by this gateway and not ended. */
  outstanding = 0;
  /** Of those, how many there were at the last report. */
  #reported = 0;
  /** Blocks that it said it holds, and those of what was sent there since. */
  #held = new Set<number>();
  #sent: (readonly number[])[] = [];

  constructor(region: string, edge: string) {
    this.edge = edge;
    this.key = `${region}/${edge}`;
  }

  beat({ models, gpus }: Heartbeat): void {
    const model = models[0];
    if (model === undefined) return;
    this.hasReported = true;
    this.active = model.active;
    this.queued = model.queued;
    this.slots = model.slots;
    this.queueMax = model.queueMax;
    this.hasGpu = gpus.length > 0;
    this.#reported = this.outstanding;
    if (model.prefixes === undefined) return;
    this.#held = new Set(model.prefixes.blocks);
    this.#sent = [];
  }

  /** Requests there, with those sent since the last report. */
  get busy(): number {
    return Math.max(0, this.active + this.queued + this.outstanding - this.#reported);
  }

  get isFull(): boolean {
    return this.busy >= this.slots + this.queueMax;
  }

  noteSent(blocks: readonly number[]): void {
    this.#sent.push(blocks);
    if (this.#sent.length > this.slots) this.#sent.shift();
  }

  /** Share of the prompt's blocks that it holds. */
  prefixShare(blocks: readonly number[]): number {
    if (blocks.length === 0) return 0;
    let shared = 0;
    while (shared < blocks.length && this.#held.has(blocks[shared]!)) shared += 1;
    for (const sent of this.#sent) {
      let same = 0;
      while (same < blocks.length && sent[same] === blocks[same]) same += 1;
      shared = Math.max(shared, same);
    }
    return shared / blocks.length;
  }
}
