import { BoxError } from "@bantubox/ffi";
import { quote } from "./digest.ts";

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string | undefined;
}

/** Go's names for what uname and people say. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  x86_64: "amd64",
  "x86-64": "amd64",
  x64: "amd64",
  aarch64: "arm64",
  i386: "386",
  i686: "386",
  armhf: "arm",
};

export function hostPlatform(): Platform {
  return { os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" };
}

/** Reads `linux/arm64/v8`, `arm64` or `linux`. @throws {BoxError} `platform-invalid` */
export function parsePlatform(text: string): Platform {
  const parts = text.toLowerCase().split("/");
  if (parts.length > 3 || !parts.every((part) => /^[a-z0-9][a-z0-9_.-]*$/.test(part))) {
    throw new BoxError("platform-invalid", `Cannot read platform ${quote(text)}: it is not OS/ARCH[/VARIANT]`, {
      hint: "Write it as linux/amd64, linux/arm64 or linux/arm/v7",
    });
  }
  const [first = "", second, variant] = parts;
  if (second === undefined) {
    return first === "linux" ? hostPlatform() : { os: "linux", architecture: normalize(first) };
  }
  return { os: first, architecture: normalize(second), variant };
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined || variant === "" ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/**
 * How well `offer` serves `wanted`: 0 is exact, greater is worse, undefined is not at all.
 * 32-bit ARM runs older variants; 64-bit ARM without a variant is v8, and x86-64 without one is v1.
 */
export function platformDistance(wanted: Platform, offer: Platform): number | undefined {
  const architecture = normalize(offer.architecture);
  if (offer.os !== wanted.os || architecture !== normalize(wanted.architecture)) return undefined;
  const want = variantNumber(architecture, wanted.variant);
  const have = variantNumber(architecture, offer.variant);
  if (want === undefined || have === undefined) return wanted.variant === offer.variant ? 0 : undefined;
  return have > want ? undefined : want - have;
}

function normalize(architecture: string): string {
  return Object.hasOwn(ARCHITECTURES, architecture) ? (ARCHITECTURES[architecture] ?? architecture) : architecture;
}

function variantNumber(architecture: string, variant: string | undefined): number | undefined {
  if (variant === undefined || variant === "") {
    if (architecture === "arm64") return 8;
    return architecture === "arm" ? 7 : 1;
  }
  const digits = /^v([0-9]{1,2})(?:\.0)?$/.exec(variant)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
