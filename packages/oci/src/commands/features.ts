import { command } from "../command.ts";
import { print } from "../log.ts";
import { SPEC_VERSION, VERSION } from "../version.ts";

export default command({
  name: "features",
  summary: "Show what this runtime can do",
  operands: "",
  flags: {},
  count: [0, 0],
  async run() {
    const { CAPABILITIES, hostFacts, knownMountOptions, seccompFeatures } = await import("@bantubox/core/runtime");
    const { hasAppArmor, hasSelinux } = hostFacts();
    const { flags, ...seccomp } = seccompFeatures();
    const features = {
      ociVersionMin: "1.0.0",
      ociVersionMax: SPEC_VERSION,
      hooks: ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
      mountOptions: knownMountOptions().sort(),
      linux: {
        namespaces: ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
        capabilities: CAPABILITIES,
        cgroup: { v1: true, v2: true, systemd: true, systemdUser: false, rdma: false },
        seccomp: { enabled: true, ...seccomp, knownFlags: flags, supportedFlags: flags },
        apparmor: { enabled: hasAppArmor },
        selinux: { enabled: hasSelinux },
        intelRdt: { enabled: false },
        mountExtensions: { idmap: { enabled: true } },
      },
      annotations: { "org.bantubox.version": VERSION },
      potentiallyUnsafeConfigAnnotations: [],
    };
    print(JSON.stringify(features, undefined, 2));
    return 0;
  },
});
