// The two headers that resumable transfers speak: Range (RFC 9110, 14.2) and Content-Range (14.4).

/** Bytes `start` to `end`, both included, counted from 0. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Reads a Range header for a body of `size` bytes. `whole` means: answer with everything, which is
 * also the answer to several ranges or another unit; `unsatisfiable` means status 416.
 */
export function parseRange(
  header: string | undefined,
  size: number,
): ByteRange | "whole" | "unsatisfiable" {
  const match = header === undefined ? null : /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header.trim());
  if (match === null) return "whole";
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return "whole";
  if (first === "") {
    const suffix = Number(last);
    if (suffix === 0 || size === 0) return "unsatisfiable";
    return { start: Math.max(0, size - suffix), end: size - 1 };
  }
  const start = Number(first);
  if (last !== "" && Number(last) < start) return "whole";
  if (start >= size) return "unsatisfiable";
  return { start, end: last === "" ? size - 1 : Math.min(Number(last), size - 1) };
}

/** A Content-Range: which bytes follow (none when only asking), and of how many (if known). */
export interface ContentRange {
  readonly range: ByteRange | undefined;
  readonly total: number | undefined;
}

/** Reads a Content-Range header; undefined when it is malformed. */
export function parseContentRange(header: string): ContentRange | undefined {
  const match = /^bytes (?:(\d{1,15})-(\d{1,15})|\*)\/(?:(\d{1,15})|\*)$/.exec(header.trim());
  if (match === null) return undefined;
  const total = match[3] === undefined ? undefined : Number(match[3]);
  if (match[1] === undefined) return total === undefined ? undefined : { range: undefined, total };
  const range = { start: Number(match[1]), end: Number(match[2]) };
  if (range.end < range.start || (total !== undefined && range.end >= total)) return undefined;
  return { range, total };
}
