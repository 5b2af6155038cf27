// What the command says to people: lines, tables, and one live line where the output is a terminal.

/** The part of a stream that is needed; process.stdout and process.stderr have it. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface Terminal {
  readonly isLive: boolean;
  print(line: string): void;
  /** Writes as it is, without a line break. */
  write(text: string): void;
  json(value: unknown): void;
  complain(message: string): void;
  /**
   * Shows progress that the next one replaces, on a terminal; elsewhere prints it as a line, but
   * only when its `milestone` is another one than before. `details` are lines below it that only a
   * terminal shows.
   */
  progress(text: string, milestone: string, details?: readonly string[]): void;
}

const COLUMNS_DEFAULT = 100;
const CLEAR_LINE = "\r\u001b[2K";
const UP_AND_CLEAR = "\u001b[1A\u001b[2K";

export function createTerminal(out: Output, err: Output): Terminal {
  const isLive = out.isTTY === true;
  /** Lines of progress that are shown now. */
  let linesOpen = 0;
  let lastMilestone: string | undefined;
  const clear = () => {
    if (linesOpen > 0) out.write(CLEAR_LINE + UP_AND_CLEAR.repeat(linesOpen - 1));
    linesOpen = 0;
  };
  const print = (line: string) => {
    clear();
    out.write(`${line}\n`);
  };
  return {
    isLive,
    print,
    write: (text) => {
      clear();
      out.write(text);
    },
    json: (value) => print(JSON.stringify(value, null, 2)),
    complain: (message) => {
      clear();
      err.write(`${message}\n`);
    },
    progress: (text, milestone, details = []) => {
      if (isLive) {
        const width = (out.columns ?? COLUMNS_DEFAULT) - 1;
        clear();
        out.write([text, ...details].map((line) => line.slice(0, width)).join("\n"));
        linesOpen = 1 + details.length;
      } else if (milestone !== lastMilestone) {
        print(text);
      }
      lastMilestone = milestone;
    },
  };
}

/** Columns as wide as their widest cell; numbers, which start with a digit, to the right. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) => {
    return Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0));
  });
  const isNumeric = header.map((_, column) => {
    return rows.length > 0 && rows.every((row) => /^(-|[-+]?\d.*)?$/.test(row[column] ?? ""));
  });
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (isNumeric[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join("  ")
      .trimEnd();
  return [header.map((title) => title.toUpperCase()), ...rows].map(line).join("\n");
}

export function bytesText(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(unit === 0 || value >= 100 ? 0 : 1)} ${units[unit]}`;
}
