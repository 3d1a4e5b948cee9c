import { BoxError } from "@bantubox/ffi";

const MAX_KEYS = 7;

/** The bytes of `ctrl-p,ctrl-q`: keys are letters, or `ctrl-` and one of a-z @ [ \ ] ^ _. Empty: no detaching. */
export function parseDetachKeys(text: string): number[] {
  if (text === "") return [];
  const keys = text.split(",").map((key) => parseKey(key));
  if (keys.length <= MAX_KEYS && !keys.includes(undefined)) return keys.filter((key) => key !== undefined);
  throw new BoxError("bad-detach-keys", `Cannot use the detach keys ${JSON.stringify(text)}`, {
    hint: 'Write keys as "ctrl-p,ctrl-q" or "a,b": at most seven',
  });
}

function parseKey(key: string): number | undefined {
  if (/^[\x21-\x7e]$/.test(key)) return key.charCodeAt(0);
  const control = /^ctrl-([a-z@[\\\]^_])$/i.exec(key)?.[1];
  return control === undefined ? undefined : control.toUpperCase().charCodeAt(0) & 0x1f;
}
