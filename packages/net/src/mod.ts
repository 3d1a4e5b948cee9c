export { type BridgeNetwork, chooseSubnet, ensureBridge, removeBridge } from "./bridge.ts";
export { formatIpv4, parseIpv4, parseSubnet, type Subnet, withPrefix } from "./cidr.ts";
export { createLeaseTable, forgetNetwork, type LeaseRequest, leaseAddress, releaseAddress } from "./ipam.ts";
export { type MovedLink, type MovePlan, planMoves } from "./move.ts";
export { type HostsOptions, hostResolvConf, hostsFile, type ResolvOptions, resolvConf } from "./resolv.ts";
export {
  macFromAddress,
  planLoopback,
  planVeth,
  QUIET_SYSCTLS,
  type VethOptions,
  type VethPlan,
  vethHint,
  vethName,
} from "./veth.ts";
