import { freezerFiles, groupDirs } from "@bantubox/cgroup";
import { buildFact, textFact, thawedFacts } from "@bantubox/ffi/facts";
import { encodeLine, type Fact } from "@bantubox/ffi/line";
import { cgroupHost } from "./cgroup-host.ts";
import type { Saved } from "./container.ts";
import type { MadeContainer } from "./prepare.ts";
import { stateText } from "./state-text.ts";

/** What the front needs of the host and of its caller, to be as Bun would find them. */
export function madeFacts(): readonly Fact[] {
  return [
    buildFact(),
    // Where the container's groups are.
    textFact("/proc/self/mountinfo", " - cgroup"),
    // Who waits to hear that it is ready is told by Bun.
    { kind: "environment", path: "NOTIFY_SOCKET", detail: "", value: "" },
  ];
}

/**
 * What the front starts, shows and deletes the container by (ffi/c/made.h), without Bun: a file of its directory.
 *
 * @param facts Of `madeFacts`.
 * @returns Undefined where more has to be done: hooks, or processes that do not end with the first.
 */
export function madeLine(
  { directory, saved, isSimple }: Pick<MadeContainer, "directory" | "saved" | "isSimple">,
  facts: readonly Fact[],
): Uint8Array | undefined {
  if (!isSimple) return undefined;
  const host = cgroupHost();
  return encodeLine({
    kind: "made",
    skeleton: new Uint8Array(),
    holes: [],
    facts: [...facts, ...thawedFacts(freezerFiles(host, saved.cgroup))],
    directory,
    groups: groupDirs(host, saved.cgroup),
    pieces: statePieces(saved),
    plan: new Uint8Array(),
    passed: 0,
    nofile: 0,
  });
}

/** What `state` prints, in pieces: each is called what comes behind it. */
function statePieces(saved: Saved): [string, string][] {
  const text = stateText(saved, { id: saved.id, pid: 0, status: "stopped", created: "" });
  // A line break is in no string of JSON, so these are the fields themselves.
  const [, ...pieces] =
    /^([\s\S]*?\n {2}"pid": )0(,\n {2}"status": ")stopped(",\n[\s\S]*?\n {2}"created": ")("[\s\S]*)$/.exec(text) ?? [];
  return ["pid", "status", "created", ""].map((name, i) => [name, pieces[i] ?? ""]);
}
