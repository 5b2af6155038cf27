// Remembers what callers get, so that feedback can name it later, and notes what they ask for.
import type { GenerateRequest } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { completionKey } from "../../runtime/frontend/feedback/completion-key.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";
import type { RecentCompletions } from "./recent-completions.ts";

export interface Remembered {
  readonly recent: RecentCompletions;
  /** Told each prompt that is one user's message. */
  readonly onInput: (model: string, prompt: string) => void;
}

/** The same backend. Failed completions are remembered too: what was wrong can be put right. */
export function remembering(
  backend: InferenceBackend,
  { recent, onInput }: Remembered,
): InferenceBackend {
  return {
    async generate(request, context, onEvent) {
      const prompt = promptOf(request);
      // The rest of a completion: where it began, it was an input.
      const isWhole = request.resume === undefined;
      if (isWhole && prompt !== null) onInput(request.model, prompt);
      let version = "";
      let text = "";
      try {
        await backend.generate(request, context, (response) => {
          const { case: kind, value } = response.event;
          if (kind === "started") version = value.version;
          else if (kind !== undefined) text += value.text;
          onEvent(response);
        });
      } finally {
        if (version !== "") {
          const key = completionKey(context.requestId, context.choice ?? 0);
          const { model } = request;
          recent.remember(key, { model, version, prompt, text: isWhole ? text : null });
        }
      }
    },
    embed: (request, context) => backend.embed(request, context),
    score: (request, context) => backend.score(request, context),
    listModels: () => backend.listModels(),
  };
}

/** What an example's prompt would be: the one message of a user, and nothing else beside it. */
function promptOf({ prompt, sessionId }: GenerateRequest): string | null {
  if (prompt.case !== "chat" || sessionId !== "") return null;
  const { messages, tools } = prompt.value;
  const [only] = messages;
  const isPlain = messages.length === 1 && only?.role === "user" && tools === "";
  return isPlain ? only.content : null;
}
