// The coordinator's operator API, as the command calls it.
import { Fault } from "../../proto/fault.ts";
import { EventReader } from "./event-reader.ts";
import { requestRole } from "./role-request.ts";

const REQUEST_TIMEOUT_MS = 30_000;

export class CoordinatorClient {
  readonly address: string;
  readonly #signal: AbortSignal;

  constructor(address: string, signal: AbortSignal) {
    this.address = address;
    this.#signal = signal;
  }

  get<T>(path: string): Promise<T> {
    return this.#request("GET", path);
  }

  post<T>(path: string, body: object, timeoutMs = REQUEST_TIMEOUT_MS): Promise<T> {
    return this.#request("POST", path, JSON.stringify(body), timeoutMs);
  }

  put<T>(path: string, body: object): Promise<T> {
    return this.#request("PUT", path, JSON.stringify(body));
  }

  delete<T>(path: string): Promise<T> {
    return this.#request("DELETE", path);
  }

  /** Every state that the stream tells, until the server ends it. Faults: `link-lost`. */
  async *follow<T>(path: string): AsyncGenerator<T, void, undefined> {
    const response = await this.#send("GET", path, undefined, this.#signal);
    const reader = new EventReader();
    try {
      for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
        for (const data of reader.read(chunk)) yield JSON.parse(data) as T;
      }
    } catch (thrown) {
      throw new Fault("link-lost", `the coordinator broke off: ${this.address}`, { cause: thrown });
    }
  }

  async #request<T>(
    method: string,
    path: string,
    body?: string,
    timeoutMs = REQUEST_TIMEOUT_MS,
  ): Promise<T> {
    const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(timeoutMs)]);
    const response = await this.#send(method, path, body, signal);
    return (await response.json()) as T;
  }

  #send(method: string, path: string, body: string | undefined, signal: AbortSignal) {
    const init = {
      method,
      signal,
      ...(body === undefined ? {} : { body, headers: { "content-type": "application/json" } }),
    };
    return requestRole("the coordinator", this.address, path, init);
  }
}
