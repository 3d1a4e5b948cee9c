/** Debian's docker-registry on a loopback port, filled by skopeo with images that umoci makes: the outside world of the tests. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Registry } from "./docker-registry.ts";
import { makeBusybox, run } from "./harness.ts";

export { type Registry, startRegistry } from "./docker-registry.ts";

/** What one layer adds: a script that runs in the image's root directory. */
export interface LayerScript {
  readonly script: string;
}

/**
 * Makes an image of busybox and further layers, and puts it into the registry.
 *
 * @param config Arguments of `umoci config`.
 */
export async function pushImage(
  { host }: Registry,
  name: string,
  { layers = [], config = [] }: { layers?: readonly LayerScript[]; config?: readonly string[] } = {},
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "bb-image-"));
  const image = `${join(directory, "oci")}:latest`;
  const bundle = join(directory, "bundle");
  try {
    await must(["umoci", "init", "--layout", join(directory, "oci")]);
    await must(["umoci", "new", "--image", image]);
    await must(["umoci", "unpack", "--image", image, bundle]);
    mkdirSync(join(bundle, "rootfs"), { recursive: true });
    await makeBusybox(join(bundle, "rootfs"));
    await must(["umoci", "repack", "--image", image, bundle]);
    for (const { script } of layers) {
      rmSync(bundle, { recursive: true });
      await must(["umoci", "unpack", "--image", image, bundle]);
      await must(["sh", "-ec", script], join(bundle, "rootfs"));
      await must(["umoci", "repack", "--image", image, bundle]);
    }
    if (config.length > 0) await must(["umoci", "config", "--image", image, ...config]);
    await must(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", `oci:${image}`, `docker://${host}/${name}`]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function must(command: readonly string[], cwd?: string): Promise<void> {
  const result = await run(command, cwd === undefined ? {} : { cwd });
  if (result.code !== 0) throw new Error(`${command.join(" ")}: ${result.stderr}`);
}
