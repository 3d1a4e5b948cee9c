/** The files by which a container finds names: /etc/resolv.conf and /etc/hosts. */
import { BoxError, isErrno, readTextSync } from "@bantubox/ffi";
import { isIpv4 } from "./cidr.ts";

const HOST_FILE = "/etc/resolv.conf";
/** Where systemd-resolved writes the servers that it asks itself. */
const RESOLVED_FILE = "/run/systemd/resolve/resolv.conf";
/** Where a host names no server that a container can reach; Docker's choice too. */
const PUBLIC_SERVERS = ["8.8.8.8", "8.8.4.4"];

export interface ResolvOptions {
  /** Addresses of servers, instead of the host's. */
  readonly dns?: readonly string[];
  /** Domains, instead of the host's; a single `.` means none. */
  readonly search?: readonly string[];
  /** Such as `ndots:2`, instead of the host's. */
  readonly options?: readonly string[];
}

export interface HostsOptions {
  readonly hostname: string;
  /** The container's own, without which `hostname` means the loopback. */
  readonly address?: string | undefined;
  /** Names and addresses, of --add-host. */
  readonly extra?: readonly (readonly [name: string, address: string])[];
}

/** The host's resolv.conf, or what stands behind it where it only names systemd-resolved; empty where there is none. */
export function hostResolvConf(): string {
  const text = readIfPresent(HOST_FILE) ?? "";
  const servers = parse(text).servers;
  const isStub = servers.length > 0 && servers.every(isLoopback);
  return isStub ? (readIfPresent(RESOLVED_FILE) ?? text) : text;
}

/**
 * Writes resolv.conf for a container with a network of its own and no IPv6.
 *
 * Drops the host's servers that it cannot reach: those on the loopback and those with an IPv6 address.
 *
 * @param hostText Of `hostResolvConf`.
 * @throws {BoxError} `bad-dns` for an option that is no address, no domain, or would add lines.
 */
export function resolvConf(hostText: string, { dns = [], search = [], options = [] }: ResolvOptions = {}): string {
  for (const server of dns) {
    if (!isAddress(server)) throw badDns(server, "a DNS server", "it is no IP address");
  }
  for (const word of search) checkWord(word, "a search domain");
  for (const word of options) checkWord(word, "a DNS option");

  const host = parse(hostText);
  const reachable = dns.length > 0 ? dns : host.servers.filter((server) => isIpv4(server) && !isLoopback(server));
  const servers = reachable.length > 0 ? reachable : PUBLIC_SERVERS;
  const domains = (search.length > 0 ? search : host.search).filter((domain) => domain !== ".");
  const flags = options.length > 0 ? options : host.options;

  const lines = servers.map((server) => `nameserver ${server}`);
  if (domains.length > 0) lines.push(`search ${domains.join(" ")}`);
  if (flags.length > 0) lines.push(`options ${flags.join(" ")}`);
  return `${lines.join("\n")}\n`;
}

/**
 * Writes /etc/hosts.
 *
 * @throws {BoxError} `bad-host` for a name or an address that is none, or would add lines.
 */
export function hostsFile({ hostname, address, extra = [] }: HostsOptions): string {
  const lines = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
  ];
  for (const [name, target] of [...extra, [hostname, address ?? "127.0.0.1"] as const]) {
    if (!isAddress(target)) throw badHost(target, "an address", "it is no IP address");
    if (!isWord(name)) throw badHost(name, "a host name", "it is empty or holds blanks");
    // A full name is followed by its first part, by which a host calls itself.
    const short = name === hostname && name.includes(".") ? ` ${name.slice(0, name.indexOf("."))}` : "";
    lines.push(`${target}\t${name}${short.length > 1 ? short : ""}`);
  }
  return `${lines.join("\n")}\n`;
}

interface Resolv {
  readonly servers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

/** Reads what resolv.conf(5) describes; the last search list counts, options and servers add up. */
function parse(text: string): Resolv {
  const servers: string[] = [];
  const options: string[] = [];
  let search: string[] = [];
  for (const line of text.split("\n")) {
    const [keyword, ...words] = line
      .replace(/[#;].*/, "")
      .split(/\s+/)
      .filter(Boolean);
    const [first] = words;
    if (keyword === "nameserver" && first !== undefined && isAddress(first)) servers.push(first);
    else if (keyword === "search" || keyword === "domain") search = words.filter(isWord);
    else if (keyword === "options") options.push(...words.filter(isWord));
  }
  return { servers, search, options };
}

function isLoopback(server: string): boolean {
  return server.startsWith("127.") || server === "::1";
}

/** One word of visible characters that starts no comment. */
function isWord(text: string): boolean {
  return /^[^\s#;\p{C}]+$/u.test(text);
}

function checkWord(word: string, what: string): void {
  if (!isWord(word)) throw badDns(word, what, "it is empty or holds blanks");
}

function badDns(value: string, what: string, state: string): BoxError {
  return new BoxError("bad-dns", `Cannot use ${JSON.stringify(value)} as ${what}: ${state}`);
}

function badHost(value: string, what: string, state: string): BoxError {
  return new BoxError("bad-host", `Cannot use ${JSON.stringify(value)} as ${what} in /etc/hosts: ${state}`);
}

function readIfPresent(path: string): string | undefined {
  try {
    return readTextSync(path);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

/** IPv4 by our own parser; for the rest node:net, which a start mostly has no need of, is loaded. An IPv6 address may name its zone. */
function isAddress(text: string): boolean {
  return isIpv4(text) || process.getBuiltinModule("node:net").isIPv6(text.replace(/%.*/, ""));
}
