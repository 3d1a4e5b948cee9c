import type { RegistryOptions } from "@bantubox/core";
import type { Flags, ParsedFlags } from "./command.ts";
import { parseEnv } from "./values/env.ts";
import { parseCpus, parseCpuset, parseInteger, parsePidsLimit } from "./values/number.ts";
import { parseSize, parseSizeOrUnlimited } from "./values/size.ts";

/** Limits of `run` and `create`. */
export const resourceFlags = {
  memory: { type: "string", short: "m", value: "BYTES", parse: parseSize, description: "Memory limit, such as 512m" },
  "memory-swap": {
    type: "string",
    value: "BYTES",
    parse: parseSizeOrUnlimited,
    description: "Memory and swap together; -1 for unlimited swap",
  },
  "memory-reservation": {
    type: "string",
    value: "BYTES",
    parse: parseSize,
    description: "Memory that is kept when the host runs short",
  },
  cpus: { type: "string", value: "NUMBER", parse: parseCpus, description: "Number of CPUs, such as 1.5" },
  "cpu-shares": {
    type: "string",
    short: "c",
    value: "SHARES",
    parse: parseShares,
    description: "Share of busy CPUs, against 1024 of others",
  },
  "cpuset-cpus": {
    type: "string",
    value: "LIST",
    parse: parseCpusetOrNone,
    description: "CPUs that may be used, such as 0-3,6",
  },
  "cpuset-mems": {
    type: "string",
    value: "LIST",
    parse: parseCpusetOrNone,
    description: "Memory nodes that may be used",
  },
  "pids-limit": {
    type: "string",
    value: "NUMBER",
    parse: parsePidsLimit,
    description: "Processes and threads at most (default: 2048); -1 for no limit",
  },
} as const satisfies Flags;

/** Of everything that starts a process in a container. */
export const processFlags = {
  interactive: { type: "boolean", short: "i", description: "Keep standard input open" },
  tty: { type: "boolean", short: "t", description: "Give it a terminal" },
  detach: { type: "boolean", short: "d", description: "Run it in the background and print the ID" },
  "detach-keys": {
    type: "string",
    value: "KEYS",
    mayBeEmpty: true,
    description: 'Keys that leave it running and return (default: ctrl-p,ctrl-q); "" for none',
  },
  env: {
    type: "list",
    short: "e",
    value: "NAME=VALUE",
    parse: parseEnv,
    description: "Set a variable; a name alone takes yours",
  },
  "env-file": { type: "list", value: "FILE", description: "Set the variables that a file lists" },
  user: { type: "string", short: "u", value: "USER[:GROUP]", description: "User and group, by name or number" },
  workdir: { type: "string", short: "w", value: "DIR", description: "Directory to start in" },
  privileged: { type: "boolean", description: "All capabilities and devices, no protection" },
} as const satisfies Flags;

/** Of everything that speaks to a registry. */
export const registryFlags = {
  "tls-verify": {
    type: "boolean",
    description: "Check the registry's certificate (default: true, and http on loopback); false also allows http",
  },
  "cert-dir": { type: "string", value: "DIR", description: "Certificates of the registry: *.crt, *.cert, *.key" },
} as const satisfies Flags;

/** What `registryFlags` mean to the library. */
export function registryOptions(flags: ParsedFlags<typeof registryFlags>): RegistryOptions {
  const { "tls-verify": verifyTls, "cert-dir": certDirectory } = flags;
  return { ...(verifyTls !== undefined && { verifyTls }), ...(certDirectory !== undefined && { certDirectory }) };
}

/** Of everything that lists. */
export const listFlags = {
  format: {
    type: "string",
    value: "FORMAT",
    description: 'Print as "json", or by a template such as "{{.ID}} {{json .}}"',
  },
  "no-trunc": { type: "boolean", description: "Print IDs and commands in full" },
  quiet: { type: "boolean", short: "q", description: "Print only IDs" },
} as const satisfies Flags;

/** 0 is Docker's word for the default. */
function parseShares(text: string, label: string): number | undefined {
  const shares = parseInteger(text, label, { max: 262144 });
  return shares === 0 ? undefined : shares;
}

/** Empty is Docker's word for all of them. */
function parseCpusetOrNone(text: string, label: string): string | undefined {
  return text === "" ? undefined : parseCpuset(text, label);
}
