import { expect, setDefaultTimeout, test } from "bun:test";
import { BoxError } from "@bantubox/ffi";
import fc from "fast-check";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { parseRegistries, readRegistries } from "./registries.ts";

setDefaultTimeout(FUZZ_TIMEOUT_MS);

function parse(document: unknown) {
  const text = typeof document === "string" ? document : JSON.stringify(document);
  return parseRegistries(new TextEncoder().encode(text), "r.json");
}

test("parseRegistries() reads all that can be said of a registry", () => {
  const found = parse({
    registries: {
      "docker.io": { mirrors: ["https://mirror.example.org", "http://10.0.0.1:5000/hub"] },
      "registry.lan:5000": { insecure: true, ca: "/etc/ca.pem", tokenHosts: ["auth.lan"] },
      "bad.example.org": { blocked: true },
      "[::1]:5000": {},
    },
  });
  expect(found.get("docker.io")?.mirrors.map(String)).toEqual([
    "https://mirror.example.org/",
    "http://10.0.0.1:5000/hub",
  ]);
  expect(found.get("registry.lan:5000")).toEqual({
    mirrors: [],
    insecure: true,
    ca: "/etc/ca.pem",
    tokenHosts: ["auth.lan"],
    blocked: false,
  });
  expect(found.get("bad.example.org")?.blocked).toBe(true);
  expect(found.size).toBe(4);
});

test.each<[string, unknown, RegExp]>([
  ["no JSON", "{", /not JSON/],
  ["a list", [], /wrong kind/],
  ["nothing", {}, /"registries" is missing/],
  ["a name that is misspelt", { registries: { "a.b": { insecur: true } } }, /unknown name, "insecur"/],
  ["another name beside", { registries: {}, extra: 1 }, /unknown name, "extra"/],
  ["an address for a registry", { registries: { "https://a.b": {} } }, /"registries.*" is not HOST/],
  ["a bare word for a registry", { registries: { "not a host": {} } }, /is not HOST/],
  ["a mirror that is no address", { registries: { "a.b": { mirrors: ["x"] } } }, /mirrors.*is not an http/],
  ["a mirror with a password", { registries: { "a.b": { mirrors: ["https://me:pw@m"] } } }, /is not an http/],
  ["a mirror in a file", { registries: { "a.b": { mirrors: ["file:///etc"] } } }, /is not an http/],
  ["insecure that is text", { registries: { "a.b": { insecure: "yes" } } }, /insecure.*wrong kind/],
  ["a relative ca", { registries: { "a.b": { ca: "ca.pem" } } }, /ca.*absolute/],
  ["2 MiB", " ".repeat(2 << 20), /larger/],
])("parseRegistries() says what is wrong with %s", (_, document, why) => {
  expect(() => parse(document)).toThrow(expect.objectContaining({ code: "registries-invalid" }));
  expect(() => parse(document)).toThrow(why);
});

test("whatever JSON comes, it is settings or a BoxError", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom("registries", "a.b", "mirrors"), (value, key) => {
      for (const document of [
        value,
        { registries: value },
        { registries: { "a.b": value } },
        { registries: { "a.b": { [key]: value } } },
      ]) {
        try {
          parse(document);
        } catch (error) {
          expect(error).toBeInstanceOf(BoxError);
        }
      }
    }),
    runs(100),
  );
});

test("a file that was named must be there; the usual one need not be", () => {
  expect(() => readRegistries("/nonexistent/registries.json")).toThrow(
    expect.objectContaining({ code: "registries-invalid" }),
  );
});
