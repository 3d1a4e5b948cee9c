import { nodeFs } from "@bantubox/ffi";
import { textFact } from "@bantubox/ffi/facts";
import type { Fact } from "@bantubox/ffi/line";
import { NETFILTER, parseIpv4, zoneQuestions } from "@bantubox/net";
import { leaseName } from "@bantubox/net/leases";
import type { Bridged } from "../create/network.ts";

/**
 * What `ensureBridge` has just seen to, as facts for the executable's front: the bridge is there, by its index and with
 * its address, and up; its NAT stands; packets are forwarded; and all that in this network namespace.
 */
export function bridgeFacts({ network, veth }: Bridged): Fact[] {
  const { bridge, gateway } = network;
  const digits = leaseName(parseIpv4(gateway));
  return [
    { kind: "interface", path: bridge, detail: digits, value: `${veth.bridgeIndex} up ${digits}` },
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
