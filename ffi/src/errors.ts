export interface BoxErrorOptions {
  /** One imperative line that says what to do, where we know it. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** A failure that BantuBox understands well enough to explain. Anything else is a bug and shows its stack. */
export class BoxError extends Error {
  override readonly name: string = "BoxError";
  /** Stable and machine-readable: tests and scripts match this, not the message. */
  readonly code: string;
  readonly hint: string | undefined;

  constructor(code: string, message: string, { hint, cause }: BoxErrorOptions = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.hint = hint;
  }
}
