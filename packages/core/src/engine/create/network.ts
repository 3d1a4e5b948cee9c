import { AT, attempt, BoxError, cstr, Fd, O, readTextSync } from "@bantubox/ffi";
import {
  type BridgeNetwork,
  chooseSubnet,
  ensureBridge,
  hostResolvConf,
  hostsFile,
  macFromAddress,
  onlyVethName,
  parseIpv4,
  planLoopback,
  planVeth,
  resolvConf,
  type VethOptions,
  vethIndex,
  vethName,
  withPrefix,
} from "@bantubox/net";
import { leaseName } from "@bantubox/net/leases";
import { NETNS_FD, type NetworkSetup } from "../../runtime/network.ts";
import { type Container, findContainer } from "../state/container.ts";
import { containerDirectory, type Engine } from "../state/engine.ts";
import { heldAddress, leasesDirectory, takeAddress } from "../state/leases.ts";
import { openProcess, sendSignal } from "../state/process.ts";
import { hostHostname } from "./hostname.ts";
import { openDirectory } from "./image-root.ts";
import { padAddress } from "./pad-address.ts";
import { readBelow } from "./users.ts";

const DEFAULT_NETWORK = "bridge";
const DEFAULT_BRIDGE = "bb0";

/** What a start needs of the network: the namespace's set-up, and the files that tell the container of it. */
export interface NetworkStart {
  readonly setup: NetworkSetup;
  readonly files: readonly (readonly [string, string])[];
  readonly bridged?: Bridged;
  /** Another container's, which the plan knows by the number that it was compiled with. */
  readonly namespace?: Fd;
}

/** A container on a bridge. */
export interface Bridged {
  readonly network: BridgeNetwork;
  readonly address: string;
  /** Absolute path of the address's lease. */
  readonly lease: string;
  /** What its link was planned of. */
  readonly veth: VethOptions;
}

/**
 * Prepares the network of one start. A bridge stands afterwards, and an address is the container's, whose lock the caller holds.
 *
 * @param number By which the plan will know `namespace`.
 * @param isHeld Its link carries nothing until `raiseHostEnd`.
 */
export function prepareNetwork(
  engine: Engine,
  { id, launch, autoRemove }: Container,
  number: number,
  isHeld = false,
): NetworkStart {
  const { network, hostname } = launch;
  if (network === "none")
    return { setup: { kind: "loopback", batch: planLoopback() }, files: files(hostname, undefined, resolver()) };
  if (network === "host") return { setup: { kind: "host" }, files: hostFiles() };
  if (network.startsWith("container:")) return joinContainer(engine, network.slice("container:".length), number);
  const bridge = defaultNetwork(engine);
  const { index } = ensureBridge(bridge);
  const address = takeAddress(engine, id, bridge);
  const veth: VethOptions = {
    bridgeIndex: index,
    hostName: autoRemove ? onlyVethName(id) : vethName(id),
    hostIndex: vethIndex(),
    containerName: "eth0",
    netnsFd: NETNS_FD,
    mac: macFromAddress(address),
    address: withPrefix(address, bridge.subnet),
    gateway: bridge.gateway,
    isHeld,
  };
  return {
    setup: { kind: "veth", veth: planVeth(veth) },
    files: files(hostname, address, resolver()),
    bridged: { network: bridge, address, lease: `${leasesDirectory(engine)}/${leaseName(parseIpv4(address))}`, veth },
  };
}

/** The container's address on its bridge, if it holds one. */
export function addressOf(engine: Engine, id: string): { address: string; network: BridgeNetwork } | undefined {
  const address = heldAddress(engine, id);
  return address === undefined ? undefined : { address, network: defaultNetwork(engine) };
}

/** The default network's row, chosen once so that it collides with nothing of this host. */
function defaultNetwork({ database }: Engine): BridgeNetwork {
  const select = database.query<BridgeNetwork, [string]>(
    "SELECT name, bridge, subnet, gateway FROM network WHERE name = ?",
  );
  const found = select.get(DEFAULT_NETWORK);
  if (found !== null) return found;
  const subnet = chooseSubnet();
  const gateway = subnet.replace(/\.0\/[0-9]+$/, ".1");
  database
    .query("INSERT OR IGNORE INTO network (name, bridge, subnet, gateway) VALUES (?, ?, ?, ?)")
    .run(DEFAULT_NETWORK, DEFAULT_BRIDGE, subnet, gateway);
  return select.get(DEFAULT_NETWORK) ?? { name: DEFAULT_NETWORK, bridge: DEFAULT_BRIDGE, subnet, gateway };
}

function joinContainer(engine: Engine, id: string, number: number): NetworkStart {
  const other = findContainer(engine, id);
  if (other === undefined) {
    throw new BoxError("no-such-network", `Cannot join the network of container ${id.slice(0, 12)}: it was removed`, {
      hint: "Make this container again, with another --network",
    });
  }
  const namespace = openNetwork(engine, other);
  if (namespace === undefined) {
    throw new BoxError("no-such-network", `Cannot join the network of container ${id.slice(0, 12)}: it does not run`, {
      hint: `Start it first: bb start ${id.slice(0, 12)}`,
    });
  }
  using directory = openDirectory(containerDirectory(engine, other.id));
  // That container may have written anything into them, and any amount of it.
  const shared = ["resolv.conf", "hostname", "hosts"].map((name) => [name, readBelow(directory.raw, name)] as const);
  return { setup: { kind: "enter", fd: number }, files: shared, namespace };
}

/** The network namespace of a container's first process, and of no other that may have its number by now. */
function openNetwork(engine: Engine, container: Container): Fd | undefined {
  const running = openProcess(engine, container);
  if (running === undefined) return undefined;
  using pidfd = running.pidfd;
  const raw = attempt("openat", AT.FDCWD, cstr(`/proc/${running.pid}/ns/net`), O.RDONLY | O.CLOEXEC);
  if (raw < 0) return undefined;
  const namespace = new Fd(raw);
  // Until now it was there, so the number was its own.
  if (sendSignal(pidfd, 0)) return namespace;
  namespace.close();
  return undefined;
}

function files(hostname: string, address: string | undefined, resolv: string): NetworkStart["files"] {
  return [
    ["hostname", `${hostname}\n`],
    ["hosts", address === undefined ? hostsFile({ hostname }) : hostsOf(hostname, address)],
    ["resolv.conf", resolv],
  ];
}

function hostsOf(hostname: string, address: string): string {
  return hostsFile({ hostname, address }).replace(`${address}\t`, `${padAddress(address)}\t`);
}

function resolver(): string {
  return resolvConf(hostResolvConf());
}

/** On the host's network its own files hold, as they are now. */
function hostFiles(): NetworkStart["files"] {
  const name = hostHostname();
  const read = (path: string, fallback: string): string => {
    try {
      return readTextSync(path);
    } catch {
      return fallback;
    }
  };
  return [
    ["hostname", `${name}\n`],
    ["hosts", read("/etc/hosts", hostsFile({ hostname: name }))],
    ["resolv.conf", read("/etc/resolv.conf", "")],
  ];
}
