// A command line that can't be carried out as it stands.

export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly hint: string;

  constructor(message: string, hint = "Run `isthmus --help` to see what there is.") {
    super(message);
    this.hint = hint;
  }
}
