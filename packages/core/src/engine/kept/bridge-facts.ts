import { nodeFs } from "@bantubox/ffi";
import { textFact } from "@bantubox/ffi/facts";
import type { Fact } from "@bantubox/ffi/line";
import { NETFILTER, zoneQuestions } from "@bantubox/net";
import type { Bridged } from "../create/network.ts";

/**
 * What `ensureBridge` sees to, as facts for the executable's front: the bridge is there, by its index and with its
 * address, and up; its NAT stands; packets are forwarded; and all that in this network namespace.
 *
 * @returns Undefined when the host does not show it so.
 */
export function bridgeFacts({ network, veth }: Bridged): Fact[] | undefined {
  const { bridge, gateway } = network;
  // An address of this host is in its table of routes for as long as its link is up.
  const address = textFact("/proc/net/fib_trie", `|-- ${gateway}\n`);
  if (address.value === "") return undefined;
  return [
    { kind: "interface", path: bridge, detail: "", value: `${veth.bridgeIndex} up` },
    address,
    textFact("/proc/sys/net/ipv4/ip_forward"),
    { kind: "link", path: OWN_NAMESPACE, detail: "", value: nodeFs().readlinkSync(OWN_NAMESPACE) },
    {
      kind: "accepts",
      path: "",
      detail: String(NETFILTER),
      value: Buffer.from(zoneQuestions(network)).toString("latin1"),
    },
  ];
}

const OWN_NAMESPACE = "/proc/self/ns/net";
