// Spans of time as people write and read them: 90s, 10m, 6h, 2d.
import { UsageError } from "./usage-error.ts";

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Milliseconds; undefined when it isn't given. Faults: UsageError. */
export function durationOption(path: string, name: string, text: string | undefined) {
  if (text === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(text.trim());
  if (match !== null) return Math.round(Number(match[1]) * unitMs[match[2]!]!);
  const message = `${path}: --${name} must be a time such as 90s, 10m, 6h or 2d`;
  throw new UsageError(`${message}, not ${JSON.stringify(text)}`);
}

/** The two largest units: 45 s, 3 min 20 s, 6 h, 2 d 4 h. */
export function durationText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const steps = [
    { size: 86_400, name: "d" },
    { size: 3_600, name: "h" },
    { size: 60, name: "min" },
    { size: 1, name: "s" },
  ];
  const first = steps.findIndex(({ size }) => seconds >= size);
  if (first < 0) return "0 s";
  const parts = steps.slice(first, first + 2).map(({ size, name }, i) => {
    const count =
      i === 0 ? Math.floor(seconds / size) : Math.floor((seconds % steps[first]!.size) / size);
    return count === 0 ? "" : `${count} ${name}`;
  });
  return parts.filter((part) => part !== "").join(" ");
}
