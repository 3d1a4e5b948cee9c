/** The images that critest pulls, made of busybox: what each must say or do is known from the suite's own list. */
import { chmodSync, cpSync, linkSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const PAUSE = "registry.k8s.io/pause:3.8";

/** Says as whom it runs, though its file belongs to root and is set-uid. */
const NO_NEW_PRIVILEGES = `#include <stdio.h>
#include <unistd.h>
int main(void)
{
	printf("Effective uid: %d\\n", (int)geteuid());
	return 0;
}
`;

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Programs that the suite runs and busybox, or Debian's, has not. */
const SCRIPTS = {
  nginx: "echo $$ > /var/run/nginx.pid; httpd -f -p 80 -h /www & wait",
  pgrep: 'exec pidof "$1"',
  ipcs: "exec cat /proc/sysvipc/shm",
};

const PAUSED = ["--config.cmd", "tail", "--config.cmd", "-f", "--config.cmd", "/dev/null"];
const NGINX = ["--config.cmd", "/bin/nginx", "--config.cmd", "master process"];
const shell = (script: string): string[] => ["/bin/sh", "-c", script].flatMap((word) => ["--config.cmd", word]);
const test = (name: string): string => `k8s-staging-cri-tools/${name}`;

/** Arguments of `umoci config`, by the name that a registry knows the image by. */
const IMAGES: Record<string, readonly string[]> = {
  "pause:3.8": PAUSED,
  "library/busybox:1.28": shell("sh"),
  "library/nginx:latest": NGINX,
  "library/nginx:1.18": NGINX,
  "library/httpd:latest": shell("echo httpd -D FOREGROUND; exec httpd -f -p 80 -h /www"),
  [test("hostnet-nginx-amd64:latest")]: shell("exec httpd -f -p 12003 -h /www"),
  [test("hostnet-nginx-arm64:latest")]: shell("exec httpd -f -p 12003 -h /www"),
  "e2e-test-images/nonewprivs:1.3": ["--config.cmd", "/nnp"],
  [test("test-image-user-uid:latest")]: ["--config.user", "1002"],
  [test("test-image-user-username:latest")]: ["--config.user", "www-data"],
  [test("test-image-user-uid-group:latest")]: ["--config.user", "1003:1004"],
  [test("test-image-user-username-group:latest")]: ["--config.user", "www-data:1004"],
  [test("test-image-predefined-group:latest")]: ["--config.user", "1000"],
  [test("test-image-latest:latest")]: ["--config.label", "test=latest"],
  [test("test-image-tag:test")]: ["--config.label", "test=tag"],
  [test("test-image-tag:all")]: ["--config.label", "test=tag"],
  [test("test-image-digest:latest")]: ["--config.label", "test=digest"],
  ...Object.fromEntries(["1", "2", "3"].map((n) => [test(`test-image-${n}:latest`), ["--config.label", `test=${n}`]])),
  ...Object.fromEntries(["1", "2", "3"].map((n) => [test(`test-image-tags:${n}`), ["--config.label", "test=tags"]])),
};

/** Makes an OCI layout in `scratch` with one image for each configuration. */
export function makeImages(scratch: string): void {
  const [layout, bundle] = [join(scratch, "images"), join(scratch, "image-bundle")];
  must(["umoci", "init", "--layout", layout]);
  must(["umoci", "new", "--image", `${layout}:base`]);
  must(["umoci", "unpack", "--image", `${layout}:base`, bundle]);
  makeRoot(join(bundle, "rootfs"), scratch);
  must(["umoci", "repack", "--image", `${layout}:base`, bundle]);
  const configs = new Map(Object.values(IMAGES).map((config) => [tagOf(config), config]));
  for (const [tag, config] of configs) {
    must(["umoci", "config", "--image", `${layout}:base`, "--tag", tag, "--config.env", PATH, ...config]);
  }
}

/** The same configuration is the same image, however many names it has. */
function tagOf(config: readonly string[]): string {
  return Bun.hash(config.join("\0")).toString(16);
}

/** Puts the images that `makeImages` made into a registry. */
export function copyImages(scratch: string, host: string): void {
  for (const [name, config] of Object.entries(IMAGES)) {
    const [from, to] = [`oci:${join(scratch, "images")}:${tagOf(config)}`, `docker://${host}/${name}`];
    must(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", from, to]);
  }
}

function makeRoot(root: string, scratch: string): void {
  for (const name of ["bin", "etc", "home", "root", "tmp", "usr/bin", "var/run", "www"]) {
    mkdirSync(join(root, name), { recursive: true });
  }
  chmodSync(join(root, "tmp"), 0o1777);
  cpSync("/bin/busybox", join(root, "bin/busybox"));
  for (const name of Bun.spawnSync(["/bin/busybox", "--list"]).stdout.toString().split("\n")) {
    if (name !== "" && name !== "busybox") linkSync(join(root, "bin/busybox"), join(root, "bin", name));
  }
  for (const [name, script] of Object.entries(SCRIPTS)) {
    writeFileSync(join(root, "bin", name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(root, "bin", name), 0o755);
  }
  writeFileSync(join(root, "www/index.html"), "It works\n");
  writeFileSync(
    join(root, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\ndefault-user:x:1000:1000::/home:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
  );
  writeFileSync(
    join(root, "etc/group"),
    "root:x:0:\nwww-data:x:33:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\nnobody:x:65534:\n",
  );
  const source = join(scratch, "nnp.c");
  writeFileSync(source, NO_NEW_PRIVILEGES);
  must(["gcc", "-static", "-o", join(root, "nnp"), source]);
  chmodSync(join(root, "nnp"), 0o4755);
}

function must(command: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync([...command]);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
}
