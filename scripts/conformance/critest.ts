/**
 * The validation suite of Kubernetes' Container Runtime Interface: the program `critest` of cri-tools drives containerd,
 * and containerd our runtime.
 *
 * Wants the network, the mounts and the processes of this script to be its own, so that nothing of a killed run is left.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { copyImages, makeImages, PAUSE } from "./cri-images.ts";
import type { Examination } from "./examination.ts";
import { finish } from "./finish.ts";
import type { Case } from "./report.ts";

const ALONE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

const REGISTRY = "127.0.0.1:5000";
const TIMEOUT_SECONDS = 3600;

/** Wants `critest` in `checkout`; containerd, containernetworking-plugins, docker-registry, skopeo, umoci, iptables. */
export async function runCritest({ checkout, runtime, only, scratch, onCase }: Examination): Promise<Case[]> {
  if (!isAlone()) {
    throw new Error(
      `critest changes the machine's network: run this as ${ALONE.join(" ")} bun scripts/conformance.ts …`,
    );
  }
  // The suite wants what it mounts to be seen by containerd.
  must(["mount", "--make-rshared", "/"]);
  must(["mount", "-t", "tmpfs", "tmpfs", "/run"]);
  must(["ip", "link", "set", "lo", "up"]);
  await using registry = await startRegistry(scratch);
  makeImages(scratch);
  copyImages(scratch, registry.host);
  await using containerd = await startContainerd(scratch, runtime);
  const report = join(scratch, "report.xml");
  const { output } = await finish(
    [
      join(checkout, "critest"),
      `--runtime-endpoint=unix://${containerd.socket}`,
      `--ginkgo.junit-report=${report}`,
      "--ginkgo.no-color",
      ...only.map((text) => `--ginkgo.focus=${text}`),
    ],
    { cwd: scratch, env: { TMPDIR: scratch }, scratch, timeoutSeconds: TIMEOUT_SECONDS, ownMounts: false },
  );
  if (!existsSync(report)) throw new Error(`critest wrote no report: ${output}`);
  const cases = readJunit(report);
  for (const result of cases) onCase(result);
  return cases;
}

/** Whether this is a namespace with no link but loopback. */
function isAlone(): boolean {
  return Bun.spawnSync(["ip", "-o", "link"]).stdout.toString().trim().split("\n").length === 1;
}

async function startRegistry(scratch: string): Promise<AsyncDisposable & { host: string }> {
  const config = join(scratch, "registry.yml");
  const storage = join(scratch, "registry");
  writeFileSync(
    config,
    `version: 0.1\nstorage: { filesystem: { rootdirectory: ${storage} } }\nhttp: { addr: "${REGISTRY}" }\nlog: { level: error }\n`,
  );
  const daemon = start(["docker-registry", "serve", config], join(scratch, "registry.log"));
  await until("the registry", () => Bun.spawnSync(["ss", "-ltnH", "sport = :5000"]).stdout.length > 0);
  return { host: REGISTRY, ...daemon };
}

async function startContainerd(scratch: string, runtime: string): Promise<AsyncDisposable & { socket: string }> {
  const state = "/run/containerd";
  const socket = `${state}/containerd.sock`;
  const [cni, hosts, config] = [join(scratch, "cni"), join(scratch, "hosts"), join(scratch, "containerd.toml")];
  mkdirSync(cni);
  writeFileSync(join(cni, "10-test.conflist"), JSON.stringify(CNI));
  for (const name of ["docker.io", "registry.k8s.io", "k8s.gcr.io", "gcr.io"]) {
    mkdirSync(join(hosts, name), { recursive: true });
    writeFileSync(join(hosts, name, "hosts.toml"), `server = "http://${REGISTRY}"\n[host."http://${REGISTRY}"]\n`);
  }
  writeFileSync(config, containerdConfig({ root: join(scratch, "containerd"), state, socket, runtime, cni, hosts }));
  const daemon = start(["containerd", "--config", config], join(scratch, "containerd.log"));
  await until("containerd", () => Bun.spawnSync(["ctr", "--address", socket, "version"]).exitCode === 0);
  return {
    socket,
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]();
      removeCgroups();
    },
  };
}

const CNI = {
  cniVersion: "0.4.0",
  name: "test",
  plugins: [
    {
      type: "bridge",
      bridge: "cni-test",
      isGateway: true,
      ipMasq: false,
      ipam: { type: "host-local", ranges: [[{ subnet: "10.88.0.0/16" }]], routes: [{ dst: "0.0.0.0/0" }] },
    },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

interface ContainerdPaths {
  readonly root: string;
  readonly state: string;
  readonly socket: string;
  readonly runtime: string;
  readonly cni: string;
  readonly hosts: string;
}

function containerdConfig({ root, state, socket, runtime, cni, hosts }: ContainerdPaths): string {
  return `version = 2
root = "${root}"
state = "${state}"
[grpc]
address = "${socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "${PAUSE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "${cni}"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "${hosts}"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "examined"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.examined]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.examined.options]
BinaryName = "${runtime}"
`;
}

function start(command: readonly string[], log: string): AsyncDisposable {
  const child = Bun.spawn([...command], { stdio: ["ignore", Bun.file(log), Bun.file(log)] });
  return {
    async [Symbol.asyncDispose]() {
      child.kill();
      await child.exited;
    },
  };
}

/** Kills what runs below containerd's cgroup, which nobody else uses here, and removes it. */
function removeCgroups(): void {
  const base = "/sys/fs/cgroup";
  const tops = [base, ...readdirSync(base).map((name) => join(base, name))].map((path) => join(path, "k8s.io"));
  const find = ["find", ...tops, "-depth", "-type", "d"];
  const groups = Bun.spawnSync(find, { stderr: "ignore" }).stdout.toString().split("\n").filter(Boolean);
  for (const group of groups) {
    for (const pid of readFileSync(join(group, "cgroup.procs"), "utf8").split("\n").filter(Boolean)) {
      process.kill(Number(pid), "SIGKILL");
    }
  }
  for (let i = 0; i < 50 && Bun.spawnSync(["rmdir", ...groups], { stderr: "ignore" }).exitCode !== 0; i++) {
    Bun.sleepSync(20);
  }
}

/** @returns The cases that ran or were left out for a reason of the suite's own. */
function readJunit(file: string): Case[] {
  const cases: Case[] = [];
  for (const [, attributes = "", , body = ""] of readFileSync(file, "utf8").matchAll(TESTCASE)) {
    const read = (name: string): string => unescapeXml(new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1] ?? "");
    const name = read("name").replace(/^\[It\] \[k8s\.io\] /, "");
    const status = STATUS[read("status")];
    if (status === undefined || !read("name").startsWith("[It]")) continue;
    const message = unescapeXml(/<(?:failure|skipped|error)[^>]*message="([^"]*)"/.exec(body)?.[1] ?? "");
    cases.push({ name, status, seconds: Number(read("time")), detail: status === "ok" ? "" : message });
  }
  return cases;
}

const TESTCASE = /<testcase ([^>]*?)(\/>|>([\s\S]*?)<\/testcase>)/g;
const STATUS: Record<string, Case["status"]> = { passed: "ok", failed: "fail", panicked: "fail", skipped: "skip" };

function unescapeXml(text: string): string {
  return text.replace(/&#?\w+;/g, (entity) => ENTITIES[entity] ?? entity);
}

const ENTITIES: Record<string, string> = {
  "&lt;": "<",
  "&gt;": ">",
  "&amp;": "&",
  "&quot;": '"',
  "&#34;": '"',
  "&#39;": "'",
  "&#xA;": "\n",
};

function must(command: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync([...command]);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
}

async function until(what: string, check: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!check()) {
    if (performance.now() > deadline) throw new Error(`Waited 30 s for ${what}`);
    await Bun.sleep(100);
  }
}
