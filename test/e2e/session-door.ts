// Takes turns of sessions at a gateway or an edge over HTTP, and reads what is kept of them.

export interface Turn {
  readonly status: number;
  readonly text: string;
  readonly promptTokens: number;
  /** Where it was served. */
  readonly region: string;
  readonly error: { readonly code: string; readonly param: string | null } | null;
  readonly retryAfter: string | null;
}

export interface SentMessage {
  readonly role: string;
  readonly content: string;
}

interface AnswerBody {
  readonly choices?: readonly { readonly message: SentMessage }[];
  readonly usage?: { readonly prompt_tokens: number };
  readonly isthmus?: { readonly region?: string };
  readonly error?: { readonly code: string; readonly param: string | null };
}

export interface KeptSession {
  readonly revision: number;
  readonly region: string;
  readonly messages: readonly SentMessage[];
}

/** A short completion at temperature 0; `terms` are those of the body's `isthmus` object. */
export async function chat(
  http: string,
  messages: readonly SentMessage[],
  terms: Record<string, unknown> = {},
): Promise<Turn> {
  const body = { model: "commands", messages, max_tokens: 12, temperature: 0, isthmus: terms };
  const response = await fetch(`${http}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = (await response.json()) as AnswerBody;
  return {
    status: response.status,
    text: answer.choices?.[0]?.message.content ?? "",
    promptTokens: answer.usage?.prompt_tokens ?? 0,
    region: answer.isthmus?.region ?? "",
    error: answer.error ?? null,
    retryAfter: response.headers.get("retry-after"),
  };
}

export function said(content: string): SentMessage {
  return { role: "user", content };
}

/**
 * The demo model answers the last command that a user gave. After this alone it is that of an
 * earlier turn, if whoever serves it has the conversation.
 */
export const sayAgain: SentMessage = { role: "system", content: "say that again" };

/** Null when the gateway keeps nothing of it. */
export async function keptAt(http: string, id: string): Promise<KeptSession | null> {
  const response = await fetch(`${http}/v1/sessions/${id}`);
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return (await response.json()) as KeptSession;
}

/** The round trips that a gateway measures to the regions in its reach, by their names. */
export async function rttsOf(http: string): Promise<Readonly<Record<string, number>>> {
  const answer = await fetch(`${http}/v1/region`);
  const { rttMs } = (await answer.json()) as { rttMs?: Record<string, number> };
  return rttMs ?? {};
}
