import { OPERATORS } from "./argument.ts";
import { ARCHITECTURES } from "./compile.ts";
import { ACTIONS, FLAGS } from "./profile.ts";

/** The names that a profile may use, as the specification's features.md lists them. */
export function seccompFeatures(): {
  readonly actions: readonly string[];
  readonly operators: readonly string[];
  readonly archs: readonly string[];
  readonly flags: readonly string[];
} {
  return {
    actions: Object.keys(ACTIONS),
    operators: Object.keys(OPERATORS),
    archs: [...ARCHITECTURES.keys()],
    flags: Object.keys(FLAGS),
  };
}
