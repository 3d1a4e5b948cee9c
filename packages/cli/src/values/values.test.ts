import { describe, expect, test } from "bun:test";
import { BoxError } from "@bantubox/core";
import fc from "fast-check";
import { scrubEnvironment } from "../environment.ts";
import { environmentOf, labelsOf, parseEnv, parseLabel, parseLines } from "./env.ts";
import { parseMount, parseTmpfs, parseVolume } from "./mount.ts";
import { parseCpus, parseCpuset, parseInteger, parsePidsLimit } from "./number.ts";
import { parseSize, parseSizeOrUnlimited } from "./size.ts";
import { parseMoment } from "./time.ts";
import { parseUlimit } from "./ulimit.ts";

/** What no parser of numbers may take. */
const BAD_NUMBERS = ["", " ", "NaN", "-0", "1e3", "0x10", "+5", " 5", "5 ", "５", "1_000", "Infinity", "9".repeat(40)];

type Parser = (text: string, label: string) => unknown;

/** The parser's answer, or that it refused in the way it should. */
function outcome(parser: Parser, text: string): unknown {
  try {
    return parser(text, "--flag");
  } catch (error) {
    if (error instanceof BoxError && (error.code === "usage" || error.code === "file-invalid")) return "refused";
    throw error;
  }
}

describe("numbers", () => {
  test.each([
    ["parseInteger", parseInteger],
    ["parseCpus", parseCpus],
    ["parsePidsLimit", parsePidsLimit],
    ["parseSize", parseSize],
    ["parseCpuset", parseCpuset],
  ] as [string, Parser][])("%s() refuses what only looks like one", (_, parser) => {
    for (const text of BAD_NUMBERS) expect([text, outcome(parser, text)]).toEqual([text, "refused"]);
  });

  test("parseInteger() gives back every number that JavaScript holds exactly", () => {
    fc.assert(fc.property(fc.maxSafeNat(), (n) => expect(parseInteger(String(n), "")).toBe(n)));
    expect(outcome(parseInteger, "9007199254740992")).toBe("refused");
  });

  test.each([
    ["1.5", 1.5],
    [".5", 0.5],
    ["2", 2],
    ["0", 0],
    ["0.01", 0.01],
    ["0.001", "refused"],
    ["-1", "refused"],
    ["1.5.5", "refused"],
    [".", "refused"],
  ])("parseCpus(%j)", (text, expected) => expect(outcome(parseCpus, text)).toBe(expected));

  test.each([
    ["0-3,6", "0-3,6"],
    ["0", "0"],
    ["0-18446744073709551615", "refused"],
    ["0-8192", "refused"],
    ["3-0", "refused"],
    ["0,", "refused"],
    ["0--1", "refused"],
    ["0\n1", "refused"],
  ])("parseCpuset(%j)", (text, expected) => expect(outcome(parseCpuset, text)).toBe(expected));

  test.each([
    ["100", 100],
    ["0", -1],
    ["-1", -1],
    ["-2", "refused"],
  ])("parsePidsLimit(%j)", (text, expected) => expect(outcome(parsePidsLimit, text)).toBe(expected));
});

describe("parseSize()", () => {
  const KB = 1024;
  const MB = KB * KB;
  const GB = MB * KB;
  test.each([
    ["32", 32],
    ["32b", 32],
    ["32B", 32],
    ["32k", 32 * KB],
    ["32K", 32 * KB],
    ["32kb", 32 * KB],
    ["32Kb", 32 * KB],
    ["32KiB", 32 * KB],
    ["32Mb", 32 * MB],
    ["32 mb", 32 * MB],
    ["1.5g", 1.5 * GB],
    ["32.5kB", 32.5 * KB],
    [".3kB", Math.trunc(0.3 * KB)],
    ["1t", KB * GB],
    ["1p", MB * GB],
    ["hello", "refused"],
    [".", "refused"],
    [". ", "refused"],
    ["-32", "refused"],
    ["-1", "refused"],
    ["32ib", "refused"],
    ["32bb", "refused"],
    ["32  k", "refused"],
    ["32m b", "refused"],
    ["32bm", "refused"],
    ["32e", "refused"],
    ["9e99g", "refused"],
    ["99999999999g", "refused"],
  ])("%j", (text, expected) => expect(outcome(parseSize, text)).toBe(expected));

  test("takes every number of bytes, and -1 where that means unlimited", () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 40 }), (n) => expect(parseSize(`${n}k`, "")).toBe(n * KB)));
    expect(parseSizeOrUnlimited("-1", "")).toBe(-1);
  });
});

test.each([
  ["nofile=1024", { name: "nofile", soft: 1024, hard: 1024 }],
  ["nofile=1024:2048", { name: "nofile", soft: 1024, hard: 2048 }],
  ["core=-1", { name: "core", soft: -1, hard: -1 }],
  ["core=5:-1", { name: "core", soft: 5, hard: -1 }],
  ["nofile=2048:1024", "refused"],
  ["nofile=-1:1024", "refused"],
  ["nofile", "refused"],
  ["nofile=", "refused"],
  ["nofile=1:2:3", "refused"],
  ["nofile=1:", "refused"],
  ["nofile=0x10", "refused"],
  ["nofile=99999999999999999999", "refused"],
  ["bogus=1", "refused"],
  ["__proto__=1", "refused"],
])("parseUlimit(%j)", (text, expected) => expect(outcome(parseUlimit, text)).toEqual(expected));

describe("parseVolume()", () => {
  test.each([
    ["/a:/b", { type: "bind", source: "/a", target: "/b", createSource: true }],
    ["/a:/b:ro", { type: "bind", source: "/a", target: "/b", createSource: true, readOnly: true }],
    [
      "/a:/b:rw,rslave,z",
      { type: "bind", source: "/a", target: "/b", createSource: true, readOnly: false, propagation: "rslave" },
    ],
    ["./a:/b", { type: "bind", source: `${process.cwd()}/a`, target: "/b", createSource: true }],
    ["data:/b", { type: "volume", source: "data", target: "/b" }],
    ["data:/b:ro", { type: "volume", source: "data", target: "/b", readOnly: true }],
    ["/b", { type: "volume", source: "", target: "/b" }],
    ["", "refused"],
    [":", "refused"],
    [":/b", "refused"],
    ["/a:", "refused"],
    ["/a::ro", "refused"],
    ["/a:b", "refused"],
    ["/a:/", "refused"],
    ["/a:/b/..", "refused"],
    ["/", "refused"],
    ["b", "refused"],
    ["/a:ro", "refused"],
    ["/a:/b:", "refused"],
    ["/a:/b:ro,rw", "refused"],
    ["/a:/b:ro,ro", "refused"],
    ["/a:/b:rslave,shared", "refused"],
    ["data:/b:rslave", "refused"],
    ["/a:/b:bogus", "refused"],
    ["/a:/b:ro:x", "refused"],
    ["a/b:/c", "refused"],
    ["-x:/c", "refused"],
    ["d:/c", "refused"],
  ])("%j", (text, expected) => expect(outcome(parseVolume, text)).toEqual(expected));
});

describe("parseMount()", () => {
  test.each([
    ["type=bind,source=/a,target=/b", { type: "bind", source: "/a", target: "/b" }],
    ["type=bind,src=/a,dst=/b,ro", { type: "bind", source: "/a", target: "/b", readOnly: true }],
    ["type=bind,src=/a,destination=/b,readonly=false", { type: "bind", source: "/a", target: "/b", readOnly: false }],
    [
      "type=bind,src=/a,dst=/b,bind-propagation=rshared",
      { type: "bind", source: "/a", target: "/b", propagation: "rshared" },
    ],
    ['type=bind,"src=/a,b",dst=/b', { type: "bind", source: "/a,b", target: "/b" }],
    ['type=bind,"src=/a""b",dst=/b', { type: "bind", source: '/a"b', target: "/b" }],
    ["dst=/b", { type: "volume", source: "", target: "/b" }],
    ["src=data,dst=/b", { type: "volume", source: "data", target: "/b" }],
    [
      "type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=1770",
      { type: "tmpfs", target: "/b", tmpfs: ["size=1048576", "mode=1770"] },
    ],
    ["", "refused"],
    ["type=bind,src=/a", "refused"],
    ["type=bind,dst=/b", "refused"],
    ["type=bind,src=a,dst=/b", "refused"],
    ["type=bogus,dst=/b", "refused"],
    ["type=tmpfs,src=/a,dst=/b", "refused"],
    ["src=/a,dst=/b", "refused"],
    ["type=bind,src=/a,dst=/b,tmpfs-size=1m", "refused"],
    ["dst=/b,bind-propagation=shared", "refused"],
    ["type=bind,src=/a,dst=b", "refused"],
    ["type=bind,src=/a,dst=/b,bogus=1", "refused"],
    ["type=bind,src=/a,dst=/b,ro=maybe", "refused"],
    ["type=bind,src,dst=/b", "refused"],
    ["type=tmpfs,dst=/b,tmpfs-mode=9", "refused"],
    ['type=bind,"src=/a,dst=/b', "refused"],
    ['type=bind,src="/a",dst=/b', "refused"],
    ["type=bind,src=/a,dst=/b,", "refused"],
  ])("%j", (text, expected) => expect(outcome(parseMount, text)).toEqual(expected));
});

test.each([
  ["/t", { type: "tmpfs", target: "/t" }],
  [
    "/t:ro,size=64k,mode=700,noexec",
    { type: "tmpfs", target: "/t", readOnly: true, tmpfs: ["size=65536", "mode=0700", "noexec"] },
  ],
  ["/t:size=50%,uid=1000", { type: "tmpfs", target: "/t", tmpfs: ["size=50%", "uid=1000"] }],
  ["/t:", "refused"],
  ["/t:bogus", "refused"],
  ["/t:size=", "refused"],
  ["/t:size=1e3", "refused"],
  ["/", "refused"],
  ["t", "refused"],
])("parseTmpfs(%j)", (text, expected) => expect(outcome(parseTmpfs, text)).toEqual(expected));

test("mount parsers answer or refuse whatever they are given", () => {
  const text = fc.oneof(
    fc.string(),
    fc
      .array(fc.constantFrom("type=", "bind", "/a", ":", ",", '"', "src=", "dst=", "ro", ".", "..", "\n"))
      .map((parts) => parts.join("")),
  );
  for (const parser of [parseVolume, parseMount, parseTmpfs] as Parser[]) {
    fc.assert(fc.property(text, (each) => void outcome(parser, each)));
  }
});

describe("variables and labels", () => {
  const lines = (text: string): unknown => parseLines(new TextEncoder().encode(text), "f");

  test("parseLines() takes values as they are, and leaves out comments and empty lines", () => {
    expect(lines('\ufeffA=1\n\n  # note\n  B= two "2" $HOME \r\nC\nD=a=b\nE=')).toEqual([
      { name: "A", value: "1" },
      { name: "B", value: ' two "2" $HOME ' },
      { name: "C", value: undefined },
      { name: "D", value: "a=b" },
      { name: "E", value: "" },
    ]);
  });

  test.each(["A=1\n=x", "A=1\nB C=x", "A=1\nB\t=x", "A=1\nB=\0"])("parseLines(%j) names the line", (text) => {
    expect(() => lines(text)).toThrow(/line 2/);
  });

  test("parseLines() refuses what is not UTF-8", () => {
    expect(() => parseLines(Uint8Array.of(0x41, 0x3d, 0xff), "f")).toThrow(/not UTF-8/);
  });

  test("environmentOf() takes the caller's value for a name alone, and drops names that have none", () => {
    const name = "CLI_TEST_SET";
    process.env[name] = "a=b";
    expect(environmentOf([], [name, "CLI_TEST_UNSET", "X=", "Y=1=2"])).toEqual(["CLI_TEST_SET=a=b", "X=", "Y=1=2"]);
    delete process.env[name];
  });

  test("environmentOf() still knows a caller's variable that was taken from our own environment", () => {
    const env: Record<string, string | undefined> = {
      NODE_TEST_ONLY: "production",
      LD_PRELOAD: "/evil.so",
      BUN_OPTIONS: "-x",
      KEEP: "1",
    };
    scrubEnvironment(env);
    expect(env).toEqual({ KEEP: "1" });
    expect(environmentOf([], ["NODE_TEST_ONLY"])).toEqual(["NODE_TEST_ONLY=production"]);
  });

  test("parseEnv() and parseLabel() refuse an empty name", () => {
    for (const text of ["", "=x"])
      expect([outcome(parseEnv, text), outcome(parseLabel, text)]).toEqual(["refused", "refused"]);
  });

  test("labelsOf() keeps the last value, and __proto__ as a label like any other", () => {
    const labels = labelsOf(
      [],
      [parseLabel("a=1", ""), parseLabel("a=2=3", ""), parseLabel("b", ""), parseLabel("__proto__=x", "")],
    );
    expect(Object.entries(labels)).toEqual([
      ["a", "2=3"],
      ["b", ""],
      ["__proto__", "x"],
    ]);
    expect(Object.getPrototypeOf(labels)).toBe(Object.prototype);
  });
});

describe("parseMoment()", () => {
  const now = Date.UTC(2026, 0, 1);
  test.each([
    ["10m", now - 600_000],
    ["1h30m", now - 5_400_000],
    ["1.5s", now - 1500],
    ["0", 0],
    ["1136073600", 1136073600000],
    ["1136073600.5", 1136073600500],
    ["2006-01-02T15:04:05Z", Date.UTC(2006, 0, 2, 15, 4, 5)],
    ["2006-01-02T15:04:05.123456789Z", Date.UTC(2006, 0, 2, 15, 4, 5, 123)],
    ["2006-01-02T15:04:05+01:00", Date.UTC(2006, 0, 2, 14, 4, 5)],
    ["2006-01-02T15:04", new Date(2006, 0, 2, 15, 4).getTime()],
    ["2006-01-02", new Date(2006, 0, 2).getTime()],
    ["2006-02-30", "refused"],
    ["2006-13-01", "refused"],
    ["2006-01-02T25:00", "refused"],
    ["10", 10_000],
    ["-10m", "refused"],
    ["10 m", "refused"],
    ["m", "refused"],
    ["1e3s", "refused"],
    ["yesterday", "refused"],
    ["", "refused"],
  ])("%j", (text, expected) => expect(outcome((each, label) => parseMoment(each, label, now), text)).toBe(expected));
});
