// Reads the JSON body of a request within a bound of bytes and of time.
import type { IncomingMessage } from "node:http";
import type { Clock } from "../../clock.ts";
import { RequestError } from "./error-answer.ts";

export interface BodyBounds {
  readonly bytesMax: number;
  readonly timeoutMs: number;
}

export const defaultBodyBounds: BodyBounds = { bytesMax: 1 << 20, timeoutMs: 30_000 };

/** Reads and parses it. Faults: throws a RequestError in OpenAI's terms. */
export async function readJson(
  incoming: IncomingMessage,
  clock: Clock,
  bounds: BodyBounds = defaultBodyBounds,
): Promise<unknown> {
  const type = incoming.headers["content-type"] ?? "";
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new RequestError(
      415,
      "unsupported_content_type",
      `Unsupported content type: '${type}'. This API method only accepts 'application/json'.`,
    );
  }
  if (Number(incoming.headers["content-length"] ?? 0) > bounds.bytesMax) throw tooLarge(bounds);
  const bytes = await readAll(incoming, clock, bounds);
  try {
    return JSON.parse(bytes.toString("utf8")) as unknown;
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    const message = `We could not parse the JSON body of your request: ${reason}`;
    throw new RequestError(400, "invalid_json", message.toWellFormed());
  }
}

function readAll(incoming: IncomingMessage, clock: Clock, bounds: BodyBounds): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const settle = (finish: () => void): void => {
      late.cancel();
      incoming.off("data", take).off("end", whole).off("error", broken).off("close", broken);
      finish();
    };
    const take = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > bounds.bytesMax) settle(() => reject(tooLarge(bounds)));
      else chunks.push(chunk);
    };
    const whole = (): void => settle(() => resolve(Buffer.concat(chunks)));
    const broken = (): void =>
      settle(() => reject(new RequestError(400, "invalid_request", "The request was cut short.")));
    const late = clock.after(bounds.timeoutMs, () =>
      settle(() =>
        reject(new RequestError(408, "request_timeout", "The body took too long to arrive.")),
      ),
    );
    incoming.on("data", take).on("end", whole).on("error", broken).on("close", broken);
  });
}

function tooLarge({ bytesMax }: BodyBounds): RequestError {
  const message = `The request is larger than the maximum of ${bytesMax} bytes.`;
  return new RequestError(413, "request_too_large", message);
}
