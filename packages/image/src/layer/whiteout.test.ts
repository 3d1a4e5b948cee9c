import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { classifyName } from "./whiteout.ts";

setDefaultTimeout(FUZZ_TIMEOUT_MS);

test.each([
  ["a plain name", "file", { kind: "plain" }],
  ["a name that only ends like one", "x.wh.", { kind: "plain" }],
  ["a whiteout hides its name", ".wh.file", { kind: "hide", name: "file" }],
  ["a hidden dot file", ".wh..bashrc", { kind: "hide", name: ".bashrc" }],
  ["a whiteout of three dots", ".wh....", { kind: "hide", name: "..." }],
  ["an opaque directory", ".wh..wh..opq", { kind: "opaque" }],
  ["a longer name that starts like the opaque marker", ".wh..wh..opqx", { kind: "metadata" }],
  ["aufs's link directory", ".wh..wh.plnk", { kind: "metadata" }],
  ["the prefix alone", ".wh.", { kind: "invalid" }],
  ["a whiteout of the directory itself", ".wh..", { kind: "invalid" }],
  ["a whiteout of the parent", ".wh...", { kind: "invalid" }],
] as const)("classifyName() (TAR-03): %s", (_, name, expected) => {
  expect(classifyName(name)).toEqual(expected);
});

test("classifyName() is total and never hides more than one entry of the directory (FZ-05)", () => {
  const character = fc.oneof(
    fc.constantFrom(".", "w", "h", "o"),
    fc.integer({ min: 1, max: 255 }).map((byte) => String.fromCharCode(byte)),
  );
  const component = fc
    .tuple(fc.constantFrom("", ".wh.", ".wh..wh.", ".wh..wh..opq"), fc.array(character, { maxLength: 12 }))
    .map(([prefix, rest]) => prefix + rest.filter((letter) => letter !== "/").join(""))
    .filter((name) => name !== "" && name !== "." && name !== "..");
  fc.assert(
    fc.property(component, (name) => {
      const whiteout = classifyName(name);
      if (whiteout.kind === "hide") {
        expect(["", ".", ".."]).not.toContain(whiteout.name);
        expect(`.wh.${whiteout.name}`).toBe(name);
      } else if (whiteout.kind === "plain") {
        expect(name.startsWith(".wh.")).toBe(false);
      }
    }),
    runs(2000),
  );
});
