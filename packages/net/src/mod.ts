export { type BridgeNetwork, chooseSubnet, ensureBridge, NETFILTER, removeBridge, zoneQuestions } from "./bridge.ts";
export { formatIpv4, parseIpv4, parseSubnet, type Subnet, withPrefix } from "./cidr.ts";
export { type MovedLink, type MovePlan, planMoves } from "./move.ts";
export { type HostsOptions, hostResolvConf, hostsFile, type ResolvOptions, resolvConf } from "./resolv.ts";
export {
  macFromAddress,
  ONLY_DIGITS,
  onlyVethName,
  planLoopback,
  planVeth,
  QUIET_SYSCTLS,
  type VethOptions,
  type VethPlan,
  vethHint,
  vethIndex,
  vethName,
} from "./veth.ts";
