import { expect, test } from "bun:test";
import fc from "fast-check";
import { familiarName, formatReference, parseReference } from "./reference.ts";

const HEX = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

test.each<[string, string, string]>([
  ["alpine", "docker.io/library/alpine:latest", "alpine:latest"],
  ["alpine:3.18", "docker.io/library/alpine:3.18", "alpine:3.18"],
  ["docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"],
  ["index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"],
  ["docker.io/library/library/x", "docker.io/library/library/x:latest", "library/library/x:latest"],
  ["bitnami/redis", "docker.io/bitnami/redis:latest", "bitnami/redis:latest"],
  ["localhost/web", "localhost/web:latest", "localhost/web:latest"],
  ["localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"],
  ["localhost:5000/web:1", "localhost:5000/web:1", "localhost:5000/web:1"],
  ["Registry/web", "Registry/web:latest", "Registry/web:latest"],
  ["127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:latest"],
  ["[::1]:5000/web", "[::1]:5000/web:latest", "[::1]:5000/web:latest"],
  ["quay.io/a/b/c_d__e-f--g.h", "quay.io/a/b/c_d__e-f--g.h:latest", "quay.io/a/b/c_d__e-f--g.h:latest"],
  [`alpine@sha256:${HEX}`, `docker.io/library/alpine@sha256:${HEX}`, `alpine@sha256:${HEX}`],
  [`alpine:3@sha256:${HEX}`, `docker.io/library/alpine@sha256:${HEX}`, `alpine@sha256:${HEX}`],
  ["a_b:A.B-C_d", "docker.io/library/a_b:A.B-C_d", "a_b:A.B-C_d"],
])("parseReference() reads %s as Docker does", (text, full, familiar) => {
  expect(formatReference(parseReference(text))).toBe(full);
  expect(familiarName(full)).toBe(familiar);
});

test.each([
  ["", "nothing"],
  ["Alpine", "a capital"],
  ["a b", "a space"],
  ["a..b", "two dots"],
  ["a___b", "three underscores"],
  ["-a", "a leading dash"],
  ["a/", "a trailing slash"],
  ["/a", "a leading slash"],
  ["a//b", "an empty component"],
  ["a:", "an empty tag"],
  ["a:-x", "a tag with a leading dash"],
  [`a:${"x".repeat(129)}`, "a tag of 129"],
  ["a@sha256:abc", "a short digest"],
  [`a@sha256:${HEX.toUpperCase()}`, "a digest in capitals"],
  [`a@md5:${HEX.slice(0, 32)}`, "a weak digest"],
  [`a@constructor:${HEX}`, "an algorithm from the prototype"],
  [HEX, "an ID"],
  ["https://docker.io/alpine", "an address"],
  ["a.b:port/x", "a port in letters"],
  ["[::1/x", "half an IPv6 address"],
  ["-a.b/x", "a host with a leading dash"],
  [`x.y/${"a".repeat(256)}`, "a path of 256"],
  ["../../etc/passwd", "a path upwards"],
  ["a\n:b", "a newline"],
  ["aé", "letters of other alphabets"],
])("parseReference() refuses %j: %s", (text) => {
  expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: "reference-invalid" }));
});

test("parseReference() takes no longer for hostile names than for others", () => {
  const before = performance.now();
  for (const unit of ["a", "a-", "a.", "-", "a/", ":", "@", "a__", "A"]) {
    for (const prefix of ["", "x.y/", "x.y:1/"]) {
      try {
        parseReference(`${prefix}${unit.repeat(1_000_000 / unit.length)}!`);
      } catch {
        // Refused, and that soon.
      }
    }
  }
  expect(performance.now() - before).toBeLessThan(2000);
});

test("formatReference() of what parseReference() read is read the same again", () => {
  const component = fc.stringMatching(/^[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?$/);
  const reference = fc.record({
    domain: fc.option(fc.constantFrom("quay.io", "localhost", "localhost:5000", "10.0.0.1:80"), { nil: undefined }),
    path: fc.array(component, { minLength: 1, maxLength: 4 }),
    tag: fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}$/), { nil: undefined }),
  });
  fc.assert(
    fc.property(reference, ({ domain, path, tag }) => {
      const text = `${domain === undefined ? "" : `${domain}/`}${path.join("/")}${tag === undefined ? "" : `:${tag}`}`;
      const full = formatReference(parseReference(text));
      expect(formatReference(parseReference(full))).toBe(full);
      expect(formatReference(parseReference(familiarName(full)))).toBe(full);
    }),
    { numRuns: 200 },
  );
});
