/** The runtime by itself, for whoever carries out a config.json: nothing of images, networks or the engine's state. */
export { type Checked, checkConfig, checkProcess, type HostFacts } from "./config/check.ts";
export { parseConfig, parseProcess, parseResources } from "./config/parse.ts";
export { knownMountOptions } from "./mount-options.ts";
export { setAffinity, setScheduling } from "./scheduling.ts";
export type {
  Capabilities,
  Device,
  Hook,
  Hooks,
  IdMapping,
  Linux,
  Mount,
  Namespace,
  NamespaceType,
  Process,
  Propagation,
  Rlimit,
  Spec,
  User,
} from "./spec.ts";
export { sysctlFile, sysctlNamespace } from "./sysctl.ts";
