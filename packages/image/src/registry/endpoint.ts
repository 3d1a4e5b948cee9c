import { BoxError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";
import type { Credentials } from "./auth.ts";
import { readCertificates } from "./certificates.ts";
import { HTTP_DEFAULTS, type HttpSettings, send } from "./http.ts";
import { type Registries, readRegistries } from "./registries.ts";

export interface RegistryOptions extends Partial<HttpSettings> {
  /**
   * For the registry that is named: false takes plain http or a certificate that nobody vouches for, true wants https
   * even on loopback. Absent leaves it to the settings.
   */
  readonly verifyTls?: boolean;
  /** `*.crt`, `*.cert` and `*.key` of the registry that is named; instead of those in `/etc`. */
  readonly certDirectory?: string | undefined;
  /** As in registries.json, which is read when absent. */
  readonly registries?: Registries | undefined;
  /** Who we are at a registry; as Docker's config.json has it when absent. */
  readonly credentials?: ((domain: string) => Credentials | undefined | Promise<Credentials | undefined>) | undefined;
}

/** One place that serves a registry's content: itself, or a mirror of it. */
export interface Endpoint {
  /** By which credentials and certificates go. */
  readonly domain: string;
  /** What stands before a repository's path there: empty, or with a slash at its end. */
  readonly prefix: string;
  readonly settings: HttpSettings;
  readonly tokenHosts: readonly string[];
  /** Whether a password may go there in plain http. */
  readonly mayBePlain: boolean;
  /** Finds where it answers. Asks it only if that is not known. */
  base(): Promise<URL>;
}

/**
 * Where to ask for a registry's content: mirrors first, itself last.
 *
 * @throws {BoxError} `registry-blocked`, `registries-invalid`, `certificates-invalid`
 */
export function endpointsOf(domain: string, options: RegistryOptions): Endpoint[] {
  const registries = options.registries ?? readRegistries();
  const mirrors = registries.get(domain)?.mirrors ?? [];
  const own = ownEndpoint(domain, options, registries);
  return [...mirrors.map((url) => mirrorEndpoint(url, options, registries)), own];
}

/** Where a registry itself is: for all that is not pulled. */
export function ownEndpoint(
  domain: string,
  options: RegistryOptions,
  registries = options.registries ?? readRegistries(),
): Endpoint {
  const entry = registries.get(domain);
  if (entry?.blocked === true) {
    throw new BoxError("registry-blocked", `Cannot use ${quote(domain)}: registries.json blocks it`);
  }
  const insecure = options.verifyTls === undefined ? entry?.insecure === true : !options.verifyTls;
  const certificates = readCertificates(domain, { directory: options.certDirectory, ca: entry?.ca });
  const settings = { ...withDefaults(options), verifyTls: !insecure, certificates };
  const wantsTls = options.verifyTls === true || certificates !== undefined;
  return {
    domain,
    prefix: "",
    settings,
    tokenHosts: entry?.tokenHosts ?? [],
    mayBePlain: insecure || isLoopback(domain),
    base: () => findBase(domain, insecure, wantsTls, settings),
  };
}

function mirrorEndpoint(url: URL, options: RegistryOptions, registries: Registries): Endpoint {
  const entry = registries.get(url.host);
  const insecure = entry?.insecure === true;
  const defaults = withDefaults(options);
  return {
    domain: url.host,
    prefix: url.pathname.replace(/^\/|\/$/g, "").replace(/(?<=.)$/, "/"),
    // There is another place to ask: no use in insisting.
    settings: {
      ...defaults,
      tries: Math.min(defaults.tries, 2),
      verifyTls: !insecure,
      certificates: readCertificates(url.host, { ca: entry?.ca }),
    },
    tokenHosts: entry?.tokenHosts ?? [],
    mayBePlain: insecure || isLoopback(url.host),
    base: () => Promise.resolve(new URL(url.origin)),
  };
}

/** Whether a registry's address is this machine: those speak plain http. */
function isLoopback(domain: string): boolean {
  const host = domain.replace(/:[0-9]+$/, "").toLowerCase();
  return host === "localhost" || host === "[::1]" || /^127\.[0-9]+\.[0-9]+\.[0-9]+$/.test(host);
}

async function findBase(domain: string, insecure: boolean, wantsTls: boolean, settings: HttpSettings): Promise<URL> {
  // The one registry whose name is not its address.
  if (domain === "docker.io") return new URL("https://registry-1.docker.io");
  // The grammar of names lets more through than there are addresses: ports above 65535, half an IPv6 address.
  if (!URL.canParse(`https://${domain}`)) {
    throw new BoxError("registry-name-invalid", `Cannot reach ${quote(domain)}: it is not the address of a registry`);
  }
  if (isLoopback(domain) && !insecure && !wantsTls) return new URL(`http://${domain}`);
  const url = new URL(`https://${domain}`);
  if (!insecure) return url;
  try {
    const answer = await send({ url: new URL("/v2/", url) }, { ...settings, tries: 1 });
    answer.discard();
    return url;
  } catch (error) {
    settings.signal?.throwIfAborted();
    if (error instanceof BoxError && error.code === "registry-unreachable") return new URL(`http://${domain}`);
    throw error;
  }
}

function withDefaults({ connectMs, stallMs, retryMs, tries, signal }: RegistryOptions): HttpSettings {
  const given = Object.entries({ connectMs, stallMs, retryMs, tries, signal });
  return { ...HTTP_DEFAULTS, ...Object.fromEntries(given.filter(([, value]) => value !== undefined)) };
}
