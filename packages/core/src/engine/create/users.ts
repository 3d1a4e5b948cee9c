import { allocate, attempt, BoxError, cstr, Fd, O, RESOLVE, S_IF, statDescriptor } from "@bantubox/ffi";
import type { User } from "../../runtime/spec.ts";

/** Who a container's process is. */
export interface Identity {
  readonly user: User;
}

/** An image may bring any /etc/passwd; nobody's is larger than this. */
const MAX_BYTES = 1 << 20;
const MAX_ID = 4294967294;

interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

interface Group {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/**
 * Makes `user` (`uid`, `name`, `uid:gid`, `name:group`; empty: root) of what /etc/passwd and /etc/group
 * below `root` say. A number that they do not know is taken as it is; a name is an error.
 *
 * @param root Descriptor of the container's root directory.
 * @throws {BoxError} `no-such-user`, `no-such-group`, `bad-user`
 */
export function resolveUser(root: number, user: string): Identity {
  const [userPart = "", groupPart, ...rest] = user.split(":");
  if (rest.length > 0) throw new BoxError("bad-user", `Cannot run as ${JSON.stringify(user)}: that is not user:group`);
  const accounts = parseAccounts(readBelow(root, "etc/passwd"));
  const groups = parseGroups(readBelow(root, "etc/group"));
  const wanted = userPart === "" ? "0" : userPart;
  const uid = parseId(wanted);
  const account = accounts.find(({ name }) => name === wanted) ?? accounts.find((entry) => entry.uid === uid);
  if (account === undefined && uid === undefined) {
    throw new BoxError(
      "no-such-user",
      `Cannot run as ${JSON.stringify(wanted)}: the image's /etc/passwd has no such user`,
      {
        hint: "Use one that it has, or a number",
      },
    );
  }
  const gid = groupPart ? findGroup(groups, groupPart) : (account?.gid ?? 0);
  // As in Docker, a group that was named stands alone.
  const additional =
    groupPart || account === undefined ? [] : groups.filter(({ members }) => members.includes(account.name));
  return {
    user: {
      uid: account?.uid ?? uid ?? 0,
      gid,
      // The primary group among them: a process that leaves it must not escape what it is denied (CVE-2022-36109).
      additionalGids: [...new Set([gid, ...additional.map((group) => group.gid)])],
    },
  };
}

function findGroup(groups: readonly Group[], text: string): number {
  const gid = groups.find(({ name }) => name === text)?.gid ?? parseId(text);
  if (gid !== undefined) return gid;
  throw new BoxError(
    "no-such-group",
    `Cannot run with group ${JSON.stringify(text)}: the image's /etc/group has no such group`,
  );
}

/** A decimal number of 0 to 2^32-2, and nothing that merely looks like one. */
function parseId(text: string): number | undefined {
  if (!/^[0-9]{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}

function parseAccounts(text: string): Account[] {
  const accounts: Account[] = [];
  for (const line of text.split("\n")) {
    const [name = "", , uid = "", gid = ""] = line.split(":");
    const [userId, groupId] = [parseId(uid), parseId(gid)];
    if (name !== "" && userId !== undefined && groupId !== undefined)
      accounts.push({ name, uid: userId, gid: groupId });
  }
  return accounts;
}

function parseGroups(text: string): Group[] {
  const groups: Group[] = [];
  for (const line of text.split("\n")) {
    const [name = "", , gid = "", members = ""] = line.split(":");
    const id = parseId(gid);
    if (name !== "" && id !== undefined) groups.push({ name, gid: id, members: members.split(",") });
  }
  return groups;
}

/**
 * Reads a small file of a root that is not trusted: links stay inside it, and
 * neither a pipe nor a device nor an endless file holds us up.
 *
 * @returns Empty when it does not exist or is no plain file of a bearable size.
 */
export function readBelow(root: number, path: string): string {
  const how = allocate(24);
  const view = new DataView(how.buffer);
  view.setUint32(0, O.RDONLY | O.NONBLOCK | O.NOCTTY | O.CLOEXEC, true);
  view.setUint32(16, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS, true);
  const raw = attempt("openat2", root, cstr(path), how, 24);
  if (raw < 0) return "";
  using fd = new Fd(raw);
  const stat = statDescriptor(fd.raw);
  if (stat.type !== S_IF.REG || stat.size === 0 || stat.size > MAX_BYTES) return "";
  // No more than its size: a link may lead to a file of /proc, which has none and may never end.
  const bytes = allocate(stat.size);
  const n = attempt("pread64", fd.raw, bytes, bytes.length, 0);
  return n > 0 ? new TextDecoder().decode(bytes.subarray(0, n)) : "";
}
