import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { familiarName, formatReference, parseReference } from "./reference.ts";

setDefaultTimeout(FUZZ_TIMEOUT_MS);

const HEX = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

test.each<[string, string, string]>([
  ["alpine", "docker.io/library/alpine:latest", "alpine:latest"],
  ["alpine:3.18", "docker.io/library/alpine:3.18", "alpine:3.18"],
  ["docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"],
  ["index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"],
  ["docker.io/library/library/x", "docker.io/library/library/x:latest", "library/library/x:latest"],
  ["docker.io/quay.io/app", "docker.io/quay.io/app:latest", "docker.io/quay.io/app:latest"],
  ["docker.io/localhost/app", "docker.io/localhost/app:latest", "docker.io/localhost/app:latest"],
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
  expect(performance.now() - before).toBeLessThan(5000);
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
    runs(200),
  );
});

/**
 * The grammar of distribution/reference as its own documentation has it, as one pattern; and what Docker does before:
 * a second way to the same answer.
 */
function model(text: string): string | undefined {
  if (/^[a-f0-9]{64}$/.test(text)) return undefined;
  const slash = text.indexOf("/");
  const head = slash < 0 ? "" : text.slice(0, slash);
  const isDomain = slash >= 0 && (/[.:]/.test(head) || head === "localhost" || head.toLowerCase() !== head);
  let domain = isDomain ? head : "docker.io";
  let rest = isDomain ? text.slice(slash + 1) : text;
  if (domain === "index.docker.io") domain = "docker.io";
  if (domain === "docker.io" && !rest.includes("/")) rest = `library/${rest}`;
  const label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
  const host = `(?:${label}(?:\\.${label})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
  const component = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
  const digest = "sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}";
  const pattern = new RegExp(
    `^(${host})/(${component}(?:/${component})*)(?::([a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}))?(?:@(${digest}))?$`,
  );
  const match = pattern.exec(`${domain}/${rest}`);
  if (match === null || (match[2] ?? "").length > 255) return undefined;
  return match[4] === undefined
    ? `${match[1]}/${match[2]}:${match[3] ?? "latest"}`
    : `${match[1]}/${match[2]}@${match[4]}`;
}

/** Names, and what becomes of them when a few pieces are put in or taken out anywhere. */
const almostReference = fc
  .record({
    start: fc.constantFrom<string>(
      "alpine",
      "localhost:5000/a/b:1",
      "quay.io/a_b/c-d:x.y",
      `r.io:1/a@sha256:${HEX}`,
      "[::1]:5/a",
      "A.b/c",
    ),
    edits: fc.array(
      fc.record({
        at: fc.nat(90),
        cut: fc.nat(3),
        put: fc.oneof(
          fc.constantFrom<string>(
            "",
            "a",
            "Z",
            "0",
            ".",
            "..",
            "_",
            "__",
            "___",
            "-",
            "--",
            "/",
            ":",
            "@",
            "[",
            "]",
            " ",
            "\n",
            "é",
            "latest",
          ),
          fc.constantFrom(`@sha256:${HEX}`, "sha512:", HEX, "localhost/", "index.docker.io/", "docker.io/", ":5000"),
        ),
      }),
      { maxLength: 3 },
    ),
  })
  .map(({ start, edits }) =>
    edits.reduce<string>((text, { at, cut, put }) => text.slice(0, at) + put + text.slice(at + cut), start),
  );

test("FZ-06: parseReference() agrees with the grammar of distribution/reference on almost-right names", () => {
  let accepted = 0;
  fc.assert(
    fc.property(almostReference, (text) => {
      let found: string | undefined;
      try {
        found = formatReference(parseReference(text));
      } catch (error) {
        expect(error).toMatchObject({ code: "reference-invalid" });
      }
      expect([text, found]).toEqual([text, model(text) as string]);
      if (found === undefined) return;
      accepted++;
      // What is formatted is read as the same, in the full and in the short form.
      expect(formatReference(parseReference(found))).toBe(found);
      expect(formatReference(parseReference(familiarName(found)))).toBe(found);
    }),
    runs(3000),
  );
  expect(accepted).toBeGreaterThan(500);
});
