import { describeImage, familiarName, type Image, type ImageDescription } from "@bantubox/image";
import type { Engine } from "../state/engine.ts";

/** Everything known of an image, in the shape of Docker's JSON. */
export async function inspectImage(engine: Engine, image: Image): Promise<Record<string, unknown>> {
  const description = await describeImage(engine, image);
  const { platform, manifest } = description;
  return {
    Id: image.id,
    RepoTags: tagsOf(image, description),
    RepoDigests: digestsOf(description),
    Parent: "",
    Comment: description.comment,
    Created: description.created,
    DockerVersion: "",
    Author: description.author,
    Config: configOf(image),
    Architecture: platform.architecture,
    ...(platform.variant === undefined ? {} : { Variant: platform.variant }),
    Os: platform.os,
    Size: description.bytes,
    GraphDriver: { Data: driverData(description), Name: description.driver },
    RootFS: { Type: "layers", Layers: description.diffIds },
    Metadata: { LastTagTime: "0001-01-01T00:00:00Z" },
    ...(manifest === undefined ? {} : { Descriptor: manifest }),
    Kind: image.kind,
  };
}

function tagsOf(image: Image, { names }: ImageDescription): string[] {
  if (image.kind === "host") return [image.name];
  return names.map(({ name }) => familiarName(name)).filter((name) => !name.includes("@"));
}

function digestsOf({ names }: ImageDescription): string[] {
  return [...new Set(names.map(({ repository, digest }) => familiarName(`${repository}@${digest}`)))].sort();
}

function configOf({ config }: Image): Record<string, unknown> {
  const check = config.healthcheck;
  return {
    User: config.user,
    ...(config.exposedPorts.length > 0 && { ExposedPorts: asSet(config.exposedPorts) }),
    Env: orNull(config.env),
    Cmd: orNull(config.cmd),
    ...(check !== undefined && {
      Healthcheck: {
        Test: check.test,
        ...(check.intervalNs > 0 && { Interval: check.intervalNs }),
        ...(check.timeoutNs > 0 && { Timeout: check.timeoutNs }),
        ...(check.startPeriodNs > 0 && { StartPeriod: check.startPeriodNs }),
        ...(check.startIntervalNs > 0 && { StartInterval: check.startIntervalNs }),
        ...(check.retries > 0 && { Retries: check.retries }),
      },
    }),
    Volumes: config.volumes.length === 0 ? null : asSet(config.volumes),
    WorkingDir: config.workdir,
    Entrypoint: orNull(config.entrypoint),
    OnBuild: orNull(config.onBuild),
    Labels: config.labels.length === 0 ? null : Object.fromEntries(config.labels),
    ...(config.stopSignal !== "" && { StopSignal: config.stopSignal }),
    ...(config.shell.length > 0 && { Shell: config.shell }),
  };
}

/** Docker's word for an empty list, as Go's JSON has it. */
function orNull(list: readonly string[]): readonly string[] | null {
  return list.length === 0 ? null : list;
}

function asSet(names: readonly string[]): Record<string, object> {
  return Object.fromEntries(names.map((name) => [name, {}]));
}

/** Where its files lie, as Docker's overlay2 tells it: the top directory, and those below it from top to bottom. */
function driverData({ directories }: ImageDescription): Record<string, string> | null {
  const [top, ...below] = directories.toReversed();
  if (top === undefined) return null;
  return { ...(below.length > 0 && { LowerDir: below.join(":") }), UpperDir: top };
}
