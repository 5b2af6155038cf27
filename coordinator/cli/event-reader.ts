// Reads server-sent events out of bytes that may be cut anywhere; keeps only what `data:` says.

export class EventReader {
  readonly #decoder = new TextDecoder();
  #rest = "";

  /** The data of every event that is complete with this chunk. */
  read(chunk: Uint8Array): string[] {
    const text = this.#rest + this.#decoder.decode(chunk, { stream: true });
    const blocks = text.split(/\r?\n\r?\n/);
    this.#rest = blocks.pop() ?? "";
    return blocks.flatMap((block) => {
      const data = block
        .split(/\r?\n/)
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).replace(/^ /, ""));
      return data.length === 0 ? [] : [data.join("\n")];
    });
  }
}
