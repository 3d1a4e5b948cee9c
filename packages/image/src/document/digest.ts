import { BoxError } from "@bantubox/ffi";

/** `sha256:` and 64 lower-case hexadecimal digits: the one form that may become a file name of ours. */
export type Digest = `sha256:${string}`;

const DIGEST = /^sha256:[a-f0-9]{64}$/;

export function isDigest(text: string): text is Digest {
  return DIGEST.test(text);
}

/** @throws {BoxError} `digest-invalid` for anything that is not a SHA-256 digest. */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new BoxError("digest-invalid", `Cannot use digest ${quote(text)}: it is not sha256 and 64 hexadecimal digits`);
}

export function digestHex(digest: Digest): string {
  return digest.slice(7);
}

export function sha256(bytes: Uint8Array): Digest {
  return `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
}

/** Text from outside as one short quoted line: control and bidirectional characters cannot reach a terminal. */
export function quote(text: string): string {
  const short = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  // JSON.stringify leaves C1 controls and bidirectional overrides alone.
  return JSON.stringify(short).replace(
    /[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The name of a system error, `EACCES`; for what has none, what it says. */
export function errnoOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
