import { BoxError } from "@bantubox/ffi";

export function limitProject(): void {
  throw new BoxError("storage-no-quota", "Cannot limit the container's size: not yet");
}
