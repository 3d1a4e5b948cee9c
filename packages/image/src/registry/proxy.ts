import { BlockList, isIP } from "node:net";
import { BoxError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy that the environment names for an address, as Go's programs read it: HTTPS_PROXY or HTTP_PROXY by the
 * address's scheme, unless NO_PROXY excepts it.
 *
 * @returns undefined for a direct connection.
 * @throws {BoxError} `proxy-invalid`
 */
export function proxyFor(url: URL, env: Environment): string | undefined {
  const name = url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  const proxy = variable(env, name);
  if (proxy === "" || isExcepted(url, variable(env, "NO_PROXY"))) return undefined;
  const address = /^[a-z][a-z0-9+.-]*:\/\//i.test(proxy) ? proxy : `http://${proxy}`;
  const parsed = URL.canParse(address) ? new URL(address) : undefined;
  if (parsed?.protocol !== "http:" && parsed?.protocol !== "https:") {
    // The value itself may carry a password.
    throw new BoxError("proxy-invalid", `Cannot reach ${quote(url.host)}: ${name} names no http or https proxy`, {
      hint: `Set ${name} to an address such as http://proxy.example.org:3128, or unset it`,
    });
  }
  return address;
}

/**
 * Whether NO_PROXY lists a host: `*`, an address, a network as `10.0.0.0/8`, or a domain, which covers those below it;
 * each of them maybe with a port.
 */
function isExcepted(url: URL, list: string): boolean {
  const host = url.hostname.toLowerCase().replace(/^\[|\]$/g, "");
  const port = url.port === "" ? (url.protocol === "https:" ? "443" : "80") : url.port;
  return list.split(",").some((entry) => matches(entry.trim().toLowerCase(), host, port));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === "") return false;
  if (entry === "*") return true;
  if (entry.includes("/")) return isInNetwork(entry, host);
  // An IPv6 address has colons of its own: with a port it stands in brackets.
  const withPort = isIP(entry) === 6 ? null : /^(.*):([0-9]+)$/.exec(entry);
  if (withPort !== null && withPort[2] !== port) return false;
  const name = (withPort?.[1] ?? entry).replace(/^\[|\]$/g, "").replace(/^\*?\./, "");
  if (name === "" || host === name) return name !== "";
  return isIP(host) === 0 && host.endsWith(`.${name}`);
}

function isInNetwork(entry: string, host: string): boolean {
  const [address = "", bits = ""] = entry.split("/");
  const version = isIP(address);
  if (version === 0 || isIP(host) !== version || !/^[0-9]{1,3}$/.test(bits)) return false;
  if (Number(bits) > (version === 4 ? 32 : 128)) return false;
  const family = version === 4 ? "ipv4" : "ipv6";
  const network = new BlockList();
  network.addSubnet(address, Number(bits), family);
  return network.check(host, family);
}

/** Both spellings are in use; capitals are asked first, as by Go. */
function variable(env: Environment, name: string): string {
  const upper = env[name];
  if (upper !== undefined && upper !== "") return upper;
  return env[name.toLowerCase()] ?? "";
}
