// What can be wrong with a model or adapter file that somebody else wrote.

export const FormatFaultCode = {
  /** The bytes aren't this format at all, or break its rules. */
  malformed: "malformed",
  /** The format is right, but uses a version, type or feature that isn't supported here. */
  unsupported: "unsupported",
  /** A number in the header goes beyond a limit, or the file ends before its data does. */
  outOfBounds: "out-of-bounds",
  /** Two parts of the file (or the file and its base model) contradict each other. */
  mismatch: "mismatch",
} as const;
export type FormatFaultCode = (typeof FormatFaultCode)[keyof typeof FormatFaultCode];

/** Reports a file that can't be used, with a message that names the file's own words. */
export class FormatFault extends Error {
  readonly code: FormatFaultCode;

  constructor(code: FormatFaultCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "FormatFault";
    this.code = code;
  }
}
