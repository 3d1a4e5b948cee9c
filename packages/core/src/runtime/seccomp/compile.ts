/** OCI seccomp profile -> classic BPF, without libseccomp and with its meaning. */
import { emitComparison } from "./argument.ts";
import { type Assembler, assembler, BPF, DATA, type Label } from "./bpf.ts";
import { actionValue, type LinuxSeccomp, profileError, RET, type SeccompArch } from "./profile.ts";
import { type Decision, decisions, type Range, rangesOf, rangesWithoutX32 } from "./ranges.ts";
import { parseRules, type Rule } from "./rules.ts";
import { type Abi, X32_BIT } from "./syscalls.ts";

/** AUDIT_ARCH_* of <linux/audit.h>. */
const AUDIT_ARCH = { x86_64: 0xc000_003e, x86: 0x4000_0003, aarch64: 0xc000_00b7, arm: 0x4000_0028 } as const;

export const ARCHITECTURES: ReadonlyMap<string, Abi> = new Map([
  ["SCMP_ARCH_X86_64", "x86_64"],
  ["SCMP_ARCH_X86", "x86"],
  ["SCMP_ARCH_X32", "x32"],
  ["SCMP_ARCH_AARCH64", "aarch64"],
  ["SCMP_ARCH_ARM", "arm"],
]);

const ARCHITECTURE_NAME = /^SCMP_ARCH_[A-Z0-9_]+$/;

export interface CompileOptions {
  readonly arch: SeccompArch;
}

/**
 * Compiles a profile to an array of struct sock_filter for seccomp(2).
 *
 * The meaning is that of runc with libseccomp:
 * - rules for one call are alternatives; one without arguments wins over those with, else the first that holds;
 * - comparisons inside a rule must all hold, but if two of them name the same argument each is a rule of its own;
 * - a rule whose action is the default one, or that names a call which the architecture has not, is dropped;
 * - numbers above the largest that the profile names return ENOSYS, so that programs fall back to older calls,
 *   unless the default action lets calls pass;
 * - a call by an architecture that is neither native nor listed kills the process.
 *
 * Beyond it, arguments that the kernel reads as 32 bits are compared as such.
 *
 * @throws {BoxError} `seccomp-profile` for what a profile must not contain; `seccomp-too-long` past 4096 instructions.
 */
export function compileSeccomp(profile: LinuxSeccomp, { arch }: CompileOptions): Uint8Array {
  const fallback = actionValue(profile.defaultAction, profile.defaultErrnoRet);
  if (fallback === RET.USER_NOTIF) throw profileError("SCMP_ACT_NOTIFY cannot be the default action");
  const listed = parseArchitectures(profile.architectures ?? []);
  const rules = parseRules(profile.syscalls ?? [], fallback);
  const shared = decisions(fallback);
  const to = assembler();
  const blocks = new Map<Decision, Label>();
  const tree = (ranges: readonly Range[]): Label => emitTree(to, blocks, ranges, 0, ranges.length);
  const treeOf = (abi: Abi): Label => tree(rangesOf(abi, rules, shared));
  const load = (next: Label): Label => to.step(BPF.LD, DATA.NR, next);

  // Written last to first: the native ABI stands nearest to the start.
  const kill = to.ret(RET.KILL_PROCESS);
  if (arch === "arm64") {
    const arm = listed.has("arm") ? load(treeOf("arm")) : kill;
    const other = to.branch(BPF.JEQ, AUDIT_ARCH.arm, arm, kill);
    const native = load(treeOf("aarch64"));
    return to.finish(to.step(BPF.LD, DATA.ARCH, to.branch(BPF.JEQ, AUDIT_ARCH.aarch64, native, other)));
  }
  const x86 = listed.has("x86") ? load(treeOf("x86")) : kill;
  const other = to.branch(BPF.JEQ, AUDIT_ARCH.x86, x86, kill);
  const x32 = listed.has("x32") ? treeOf("x32") : tree(rangesWithoutX32(rules, shared));
  const native = load(to.branch(BPF.JGE, X32_BIT, x32, treeOf("x86_64")));
  return to.finish(to.step(BPF.LD, DATA.ARCH, to.branch(BPF.JEQ, AUDIT_ARCH.x86_64, native, other)));
}

function parseArchitectures(names: readonly string[]): Set<Abi> {
  const listed = new Set<Abi>();
  for (const name of names) {
    if (!ARCHITECTURE_NAME.test(name)) throw profileError(`"${name}" is not an architecture`);
    // Those of other machines cannot occur on this one.
    const abi = ARCHITECTURES.get(name);
    if (abi !== undefined) listed.add(abi);
  }
  return listed;
}

/** Writes a balanced search for the range that the number in A belongs to, between two indexes of `ranges`. */
function emitTree(
  to: Assembler,
  blocks: Map<Decision, Label>,
  ranges: readonly Range[],
  from: number,
  end: number,
): Label {
  const middle = (from + end) >> 1;
  const { start, decision } = ranges[middle] as Range;
  if (end - from === 1) return emitDecision(to, blocks, decision);
  const above = emitTree(to, blocks, ranges, middle, end);
  const below = emitTree(to, blocks, ranges, from, middle);
  return to.branch(BPF.JGE, start, above, below);
}

function emitDecision(to: Assembler, blocks: Map<Decision, Label>, decision: Decision): Label {
  if (decision.rules.length === 0) return to.ret(decision.otherwise);
  let block = blocks.get(decision);
  if (block === undefined) {
    block = decision.rules.reduceRight((next, rule) => emitRule(to, rule, next), to.ret(decision.otherwise));
    blocks.set(decision, block);
  }
  return block;
}

function emitRule(to: Assembler, { action, comparisons }: Rule, no: Label): Label {
  return comparisons.reduceRight((yes, comparison) => emitComparison(to, comparison, yes, no), to.ret(action));
}
