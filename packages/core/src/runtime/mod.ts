/** The runtime by itself, for whoever carries out a config.json: nothing of images, networks or the engine's state. */
export { CAPABILITIES } from "./capabilities.ts";
export { compileExec, type ExecContext } from "./compile-exec.ts";
export { compileOci, type OciContext } from "./compile-oci.ts";
export { compileOciRestore } from "./compile-oci-restore.ts";
export { type Checked, checkConfig, checkProcess, type HostFacts } from "./config/check.ts";
export { hostFacts } from "./config/host.ts";
export { parseConfig, parseProcess, parseResources } from "./config/parse.ts";
export { settleDeviceRules } from "./device-rules.ts";
export { explainFailure, type StepFailure } from "./explain.ts";
export { compileWait } from "./hold.ts";
export { knownMountOptions } from "./mount-options.ts";
export { networkOf } from "./network.ts";
export { setAffinity, setScheduling } from "./scheduling.ts";
export { seccompFeatures } from "./seccomp/features.ts";
export { compileProfile } from "./seccomp/filter.ts";
export type { FilteredContainer } from "./seccomp/listener.ts";
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
export { TAG } from "./tags.ts";
