// Takes feedback on what this edge's callers got, and keeps it here: the lesson as an example, the
// rating with the version that earned it.
import { Fault } from "../../proto/fault.ts";
import {
  type CompletionName,
  completionKey,
  completionName,
} from "../../runtime/frontend/feedback/completion-key.ts";
import type {
  FeedbackPort,
  FeedbackReceipt,
  Lesson,
} from "../../runtime/frontend/feedback/feedback-port.ts";
import type { NewExample } from "./example-store.ts";
import type { FeedbackLedger, FeedbackRecord } from "./feedback-ledger.ts";
import type { RecentCompletion, RecentCompletions } from "./recent-completions.ts";

export interface FeedbackDeskOptions {
  readonly edge: string;
  readonly region: string;
  readonly ledger: FeedbackLedger;
  readonly recent: RecentCompletions;
}

export function createFeedbackDesk(options: FeedbackDeskOptions): FeedbackPort {
  const { edge, region, ledger, recent } = options;
  const receipt = (record: FeedbackRecord): FeedbackReceipt => ({
    ...record,
    ...completionName(record.id, 0),
    edge,
    region,
  });
  return {
    async give({ lesson, rating, ...name }) {
      const key = keyOf(name);
      const completion = recent.get(key);
      if (completion === undefined) throw forgotten(name, recent.ageMaxMs);
      const { model, version } = completion;
      const example = lesson && exampleOf(key, lesson, completion);
      const said = { id: key, model, version, lesson: lesson?.kind ?? "", rating } as const;
      return receipt(ledger.put(said, example));
    },
    async get(name) {
      const record = ledger.get(keyOf(name));
      if (record === undefined) throw noFeedback(name);
      return receipt(record);
    },
    async remove(name) {
      if (!ledger.remove(keyOf(name))) throw noFeedback(name);
    },
  };
}

/** Faults: `unsupported` where the completion can't teach that. */
function exampleOf(id: string, lesson: Lesson, completion: RecentCompletion): NewExample {
  const { model, prompt } = completion;
  const param = lesson.kind;
  if (prompt === null) {
    const why = "only the answer to a single user message can be learned from; a rating is fine";
    throw new Fault("unsupported", why, { param });
  }
  const text = lesson.text ?? completion.text;
  if (text === null || text === "") {
    const why = "the text isn't all here: say which text you accept";
    throw new Fault("unsupported", why, { param });
  }
  return { id, model, source: lesson.kind, prompt, completion: text };
}

function keyOf({ id, choice }: CompletionName): string {
  return completionKey(id, choice);
}

const MINUTE_MS = 60_000;

function forgotten({ id }: CompletionName, ageMaxMs: number): Fault {
  const minutes = Math.round(ageMaxMs / MINUTE_MS);
  const why =
    `no completion ${id} is remembered here: ` +
    `each edge remembers what it answered, for ${minutes} minutes and until it stops`;
  return new Fault("not-found", why, { param: "id" });
}

function noFeedback({ id }: CompletionName): Fault {
  return new Fault("not-found", `there is no feedback on completion ${id} here`, { param: "id" });
}
