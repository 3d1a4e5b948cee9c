/** Decisions laid out over all system call numbers of an ABI, neighbours with the same one joined. */
import { narrow } from "./argument.ts";
import { type Multiplexed, multiplexed } from "./multiplex.ts";
import { RET } from "./profile.ts";
import type { Rule, Rules } from "./rules.ts";
import { type Abi, ARM_PRIVATE, syscallNumbers, X32_BIT } from "./syscalls.ts";

/** What happens to a call: the first of `rules` that holds, else `otherwise`. */
export interface Decision {
  readonly rules: readonly Rule[];
  readonly otherwise: number;
}

/** A decision that holds from number `start` up to the next range's. */
export interface Range {
  readonly start: number;
  readonly decision: Decision;
}

type RulesByNumber = ReadonlyMap<number, readonly Rule[]>;

/** Gives equal decisions as the same object, so that they are compared and compiled once. */
export interface Decisions {
  readonly fallback: number;
  readonly always: (action: number) => Decision;
  /** @param rules Compared by identity: a call has the same array in all ABIs where it has one number of its own. */
  readonly among: (rules: readonly Rule[]) => Decision;
}

const ENOSYS = RET.ERRNO + 38;
const ARM_PRIVATE_END = 0x10_0000;
const MINUS_ONE = 0xffff_ffff;

export function decisions(fallback: number): Decisions {
  const plain = new Map<number, Decision>();
  const conditional = new Map<readonly Rule[], Decision>();

  function always(action: number): Decision {
    let decision = plain.get(action);
    if (decision === undefined) {
      decision = { rules: [], otherwise: action };
      plain.set(action, decision);
    }
    return decision;
  }

  function among(rules: readonly Rule[]): Decision {
    let decision = conditional.get(rules);
    if (decision === undefined) {
      const whole = rules.find(({ comparisons }) => comparisons.length === 0);
      if (whole !== undefined) decision = always(whole.action);
      else decision = rules.length === 0 ? always(fallback) : { rules, otherwise: fallback };
      conditional.set(rules, decision);
    }
    return decision;
  }

  return { fallback, always, among };
}

/** Lays out the rules of `abi`. The numbers that it has start at 0, or with x32 at its bit. */
export function rangesOf(abi: Abi, rules: Rules, { fallback, always, among }: Decisions): Range[] {
  const byNumber = assignNumbers(abi, rules);
  const numbers = Uint32Array.from(byNumber.keys()).sort();
  const newest = newestOf(abi, numbers);
  const ordinary = always(fallback);
  const unknown = always(beyond(newest, fallback));
  const isNarrow = abi === "x86" || abi === "arm";

  const ranges: Range[] = [{ start: abi === "x32" ? X32_BIT : 0, decision: ordinary }];
  let current = ordinary;
  // Starts come in rising order.
  function put(start: number, decision: Decision): void {
    if (decision === current) return;
    current = decision;
    const last = ranges.length - 1;
    if (ranges[last]?.start !== start) ranges.push({ start, decision });
    else if (ranges[last - 1]?.decision === decision) ranges.pop();
    else ranges[last] = { start, decision };
  }

  let next = 0;
  function putKnown(limit: number): void {
    for (; next < numbers.length; next++) {
      const nr = numbers[next] as number;
      if (nr > limit) return;
      const own = byNumber.get(nr) as readonly Rule[];
      const decision = among(own);
      put(
        nr,
        isNarrow && decision.rules.length > 0 ? { ...decision, rules: decision.rules.map(narrowRule) } : decision,
      );
      if (numbers[next + 1] !== nr + 1) put(nr + 1, ordinary);
    }
  }

  if (newest !== undefined) {
    putKnown(newest);
    put(newest + 1, unknown);
  }
  if (abi === "arm") {
    put(ARM_PRIVATE, ordinary);
    putKnown(ARM_PRIVATE_END - 1);
    put(ARM_PRIVATE_END, unknown);
  }
  return ranges;
}

/**
 * Lays out x32's numbers for a profile that does not list it.
 *
 * -1 is what a tracer leaves in place of a call to be skipped; it belongs to x86-64.
 */
export function rangesWithoutX32(rules: Rules, { fallback, always }: Decisions): Range[] {
  const newest = newestOf("x86_64", Uint32Array.from(assignNumbers("x86_64", rules).keys()).sort());
  return [
    { start: X32_BIT, decision: always(RET.KILL_PROCESS) },
    { start: MINUS_ONE, decision: always(beyond(newest, fallback)) },
  ];
}

function assignNumbers(abi: Abi, rules: Rules): RulesByNumber {
  const table = syscallNumbers(abi);
  const byNumber = new Map<number, readonly Rule[]>();
  for (const [name, own] of rules) {
    const nr = table.get(name);
    if (nr !== undefined) append(byNumber, nr, own);
    const other = abi === "x86" ? multiplexed(name) : undefined;
    const nrOther = other === undefined ? undefined : table.get(other.via);
    if (other !== undefined && nrOther !== undefined) append(byNumber, nrOther, selected(own, other));
  }
  return byNumber;
}

function append(byNumber: Map<number, readonly Rule[]>, nr: number, rules: readonly Rule[]): void {
  const present = byNumber.get(nr);
  byNumber.set(nr, present === undefined ? rules : [...present, ...rules]);
}

// Rules with arguments are lost there: socketcall's second argument points to them.
function selected(rules: readonly Rule[], { selector }: Multiplexed): readonly Rule[] {
  const whole = rules.find(({ comparisons }) => comparisons.length === 0);
  return whole === undefined ? [] : [{ action: whole.action, comparisons: [selector] }];
}

function newestOf(abi: Abi, sorted: Uint32Array): number | undefined {
  return abi === "arm" ? sorted.findLast((nr) => nr < ARM_PRIVATE) : sorted.at(-1);
}

/** What calls newer than the profile get. @param newest Of the calls that the profile names, if there is one. */
function beyond(newest: number | undefined, fallback: number): number {
  return newest === undefined || isPermissive(fallback) ? fallback : ENOSYS;
}

// A tracer answers itself for calls that it does not know, so TRACE counts as letting pass (as in runc).
function isPermissive(action: number): boolean {
  return action === RET.ALLOW || action === RET.LOG || (action & 0xffff_0000) >>> 0 === RET.TRACE;
}

function narrowRule({ action, comparisons }: Rule): Rule {
  return { action, comparisons: comparisons.map(narrow) };
}
