import { expect, test } from "bun:test";
import { proxyFor } from "./proxy.ts";

const proxy = "http://proxy.example.org:3128";

test.each<[string, string, string, boolean]>([
  ["nothing", "", "https://registry.example.org/", true],
  ["everything", "*", "https://registry.example.org/", false],
  ["the host", "registry.example.org", "https://registry.example.org/", false],
  ["a domain above it", "example.com, example.org", "https://registry.example.org/", false],
  ["a domain with a dot", ".example.org", "https://registry.example.org/", false],
  ["a name that only ends alike", "ample.org", "https://registry.example.org/", true],
  ["its port", "registry.example.org:443", "https://registry.example.org/", false],
  ["another port", "registry.example.org:5000", "https://registry.example.org/", true],
  ["its network", "10.0.0.0/8", "https://10.1.2.3:5000/", false],
  ["another network", "10.0.0.0/16", "https://10.1.2.3:5000/", true],
  ["its IPv6 address", "2001:db8::1", "https://[2001:db8::1]:5000/", false],
  ["its IPv6 network", "2001:db8::/32", "https://[2001:db8::1]/", false],
  ["nonsense", "10.0.0.0/99,/,:", "https://10.0.0.1/", true],
])("NO_PROXY that lists %s", (_, list, address, proxied) => {
  const env = { HTTPS_PROXY: proxy, NO_PROXY: list };
  expect(proxyFor(new URL(address), env)).toBe(proxied ? proxy : undefined);
});

test("proxyFor() goes by the scheme, takes both spellings, and adds what a bare host lacks", () => {
  const env = { https_proxy: "secure.example.org:1", HTTP_PROXY: proxy };
  expect(proxyFor(new URL("https://r.example.org"), env)).toBe("http://secure.example.org:1");
  expect(proxyFor(new URL("http://r.example.org"), env)).toBe(proxy);
  expect(proxyFor(new URL("http://r.example.org"), {})).toBeUndefined();
});

test("REG-06: an unusable proxy is an error that does not repeat its password", () => {
  const broken = () => proxyFor(new URL("https://r.example.org"), { HTTPS_PROXY: "socks5://me:secret@proxy" });
  expect(broken).toThrow(expect.objectContaining({ code: "proxy-invalid" }));
  expect(broken).not.toThrow(/secret/);
});
