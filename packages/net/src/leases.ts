/**
 * Leases of addresses: names in a directory. An address's link, called by its eight hexadecimal digits, points to its
 * owner; symlink(2) refuses a name that is there, which makes an address one owner's, whoever asks: a command, a
 * program, or the executable's front (ffi/c/lease.c), which has no database.
 *
 * A lease is taken back by who holds its owner's lock, or by `sweepLeases`, and nobody else: a name that was read
 * may be another's by the time that it is removed.
 */
import {
  AT,
  allocate,
  attempt,
  BoxError,
  call,
  cstr,
  ERRNO,
  existsSync,
  Fd,
  mkdirSync,
  nodeFs,
  O,
  SysError,
} from "@bantubox/ffi";
import { isHostOf, parseIpv4, parseSubnet } from "./cidr.ts";

export interface LeaseRequest {
  /** Where leases are: absolute, on a local file system, nobody's but root's. Made when it is missing. */
  readonly directory: string;
  readonly subnet: string;
  readonly gateway: string;
  /** Who gets it, such as a container's id; at most 255 bytes. */
  readonly owner: string;
  /** The address that it had before, which it keeps unless that is another's by now. */
  readonly former?: number | undefined;
  /** Asked when no address is left. */
  readonly hold: Hold;
}

/**
 * Keeps an owner from coming (back) to life until it is disposed of; undefined for one that is alive. A container that
 * is being made must count as alive.
 */
export type Hold = (owner: string) => Disposable | undefined;

/** Addresses from `first` on, the gateway's not among them. */
export interface LeaseRange {
  readonly first: number;
  readonly count: number;
}

const LOCK_EX = 2;
const OWNER_MAX = 255;
/** How many addresses are tried before all are looked at: of a network that is half full, one in 65,000 needs that. */
const DRAWS = 16;

/**
 * Gives `owner` an address: one at random, so that a freed one rests for as long as there are others.
 *
 * @throws {BoxError} `network-full`, `bad-subnet`, `bad-address`
 */
export function leaseAddress(request: LeaseRequest): number {
  const { directory, former, owner } = request;
  const subnet = parseSubnet(request.subnet);
  const gateway = parseIpv4(request.gateway);
  if (!existsSync(directory)) makeDirectory(directory);
  const take = (address: number): boolean => address !== gateway && takeAddress(directory, address, owner);
  if (former !== undefined && isHostOf(subnet, former)) {
    if (ownerOf(directory, former) === owner || take(former)) return former;
  }
  const count = subnet.broadcast - subnet.base - 1;
  for (const random of crypto.getRandomValues(new Uint32Array(DRAWS))) {
    const address = subnet.base + 1 + (random % count);
    if (take(address)) return address;
  }
  const takeAny = (): number | undefined => {
    const taken = new Set(nodeFs().readdirSync(directory));
    for (let address = subnet.base + 1; address < subnet.broadcast; address++) {
      if (!taken.has(leaseName(address)) && take(address)) return address;
    }
    return undefined;
  };
  const address = takeAny() ?? (sweepLeases(directory, request.hold) ? takeAny() : undefined);
  if (address === undefined) throw networkFull(request, count - 1);
  return address;
}

/** Takes an address back. The caller holds its owner's lock; one that is another's by now stays so. */
export function releaseAddress(directory: string, address: number, owner: string): void {
  if (ownerOf(directory, address) === owner) attempt("unlinkat", AT.FDCWD, cstr(pathOf(directory, address)), 0);
}

/** Whose an address is. */
export function ownerOf(directory: string, address: number): string | undefined {
  return readOwner(pathOf(directory, address));
}

/** Takes back what owners left behind that were killed before they could. @returns Whether there was any. */
export function sweepLeases(directory: string, hold: Hold): boolean {
  if (!existsSync(directory)) return false;
  using lock = new Fd(call("openat", `"${directory}"`, AT.FDCWD, cstr(directory), O.RDONLY | O.DIRECTORY | O.CLOEXEC));
  // One at a time: of two that find the same owner gone, the second would take what is another's since the first did.
  call("flock", `"${directory}"`, lock.raw, LOCK_EX);
  let found = false;
  for (const name of nodeFs().readdirSync(directory)) {
    const path = `${directory}/${name}`;
    const owner = readOwner(path);
    if (owner === undefined) continue;
    using held = hold(owner);
    if (held === undefined || readOwner(path) !== owner) continue;
    attempt("unlinkat", AT.FDCWD, cstr(path), 0);
    found = true;
  }
  return found;
}

/** What an address's link is called. */
export function leaseName(address: number): string {
  return address.toString(16).padStart(8, "0");
}

/** All addresses of a network but its gateway's; undefined where that is in their midst. */
export function leaseRange(subnet: string, gateway: string): LeaseRange | undefined {
  const { base, broadcast } = parseSubnet(subnet);
  return parseIpv4(gateway) === base + 1 ? { first: base + 2, count: broadcast - base - 2 } : undefined;
}

function pathOf(directory: string, address: number): string {
  return `${directory}/${leaseName(address)}`;
}

function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    // Another command was first.
    if (!existsSync(directory)) throw error;
  }
}

function takeAddress(directory: string, address: number, owner: string): boolean {
  const path = pathOf(directory, address);
  const result = attempt("symlinkat", cstr(owner), AT.FDCWD, cstr(path));
  if (result === -ERRNO.EEXIST) return false;
  if (result < 0) throw new SysError("symlink", -result, `"${path}"`);
  return true;
}

function readOwner(path: string): string | undefined {
  const text = allocate(OWNER_MAX + 1);
  const length = attempt("readlinkat", AT.FDCWD, cstr(path), text, text.length);
  return length > 0 && length <= OWNER_MAX ? new TextDecoder().decode(text.subarray(0, length)) : undefined;
}

function networkFull({ subnet }: LeaseRequest, count: number): BoxError {
  const addresses = count === 1 ? "its only address is" : `all its ${count} addresses are`;
  return new BoxError("network-full", `Cannot lease an address of ${subnet}: ${addresses} taken`, {
    hint: "Remove containers that are not needed, or use a network with a larger subnet",
  });
}
