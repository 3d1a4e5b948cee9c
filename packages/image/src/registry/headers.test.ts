/** FZ-15: what registries say in headers is a value or nothing, and credentials never leave their origin. */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { BoxError } from "@bantubox/ffi";
import fc from "fast-check";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { HTTP_DEFAULTS, parseRetryAfter, resolveLocation, sendAndRead } from "./http.ts";
import { parseNextLink } from "./link-header.ts";
import { startRegistry, type TestRegistry } from "./registry-fixture.ts";
import { parseUploadRange } from "./upload.ts";

setDefaultTimeout(FUZZ_TIMEOUT_MS);

const origins = [startRegistry(), startRegistry(), startRegistry()];
afterAll(async () => {
  for (const origin of origins) await origin[Symbol.asyncDispose]();
});

/** Fast-check's own `binary` takes a second to be set up. */
const anything = fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code));

test.each<[string | null, string | undefined]>([
  ['</v2/x/tags/list?last=b&n=2>; rel="next"', "/v2/x/tags/list?last=b&n=2"],
  ["<https://r.example.org/a>;rel=next", "https://r.example.org/a"],
  ['<a>; rel="prev", <b>; title="x, <c>; rel=next"; rel="next"', "b"],
  ['<a>; rel="prev next"', "a"],
  ['<a>; REL="NEXT"', "a"],
  ["<a>", undefined],
  ['<a>; rel="prev"', undefined],
  ["a; rel=next", undefined],
  ["<a; rel=next", undefined],
  ["<>; rel=next", ""],
  ["", undefined],
  [null, undefined],
])("FZ-15: parseNextLink(%p) is %p", (header, expected) => {
  expect(parseNextLink(header)).toBe(expected as string);
});

test("FZ-15: no header makes a parser throw or take long", () => {
  const pieces = fc.constantFrom("<", ">", ";", ",", "rel", "=", "next", '"', " ", "bytes", "0-", "9", "/", "*", "a");
  const header = fc.oneof(
    fc.string({ unit: anything }),
    fc.array(pieces, { maxLength: 60 }).map((list) => list.join("")),
  );
  fc.assert(
    fc.property(header, (text) => {
      const link = parseNextLink(text);
      expect(link === undefined || typeof link === "string").toBe(true);
      const range = parseUploadRange(text);
      expect(range === undefined || (Number.isSafeInteger(range) && range >= 0)).toBe(true);
      const wait = parseRetryAfter(text, 0);
      expect(wait === undefined || (wait >= 0 && wait <= 60_000)).toBe(true);
    }),
    runs(500),
  );
  const before = performance.now();
  for (const unit of ["<a>;", "<", ";a=", '";', " ", "<a>;b ", "<a>; rel=x,"]) {
    parseNextLink(unit.repeat(16_000 / unit.length));
    parseRetryAfter("9".repeat(1_000_000), 0);
    parseUploadRange(`0-${"9".repeat(1_000_000)}`);
  }
  expect(performance.now() - before).toBeLessThan(5000);
});

test("FZ-15: a Location is an address that may be asked, or an error", () => {
  const from = new URL("https://registry.example.org/v2/a/b?c=d");
  const location = fc.oneof(
    fc.string({ unit: anything, maxLength: 60 }),
    fc.constantFrom(
      "//x",
      "/x",
      "?q",
      "#f",
      "javascript:1",
      "file:///etc/passwd",
      "http://[::1]/",
      "https://a@b/",
      "..//",
    ),
  );
  fc.assert(
    fc.property(location, (text) => {
      try {
        const url = resolveLocation(from, text);
        expect([url.protocol, url.username, url.password]).toEqual(["https:", "", ""]);
      } catch (error) {
        expect(error).toBeInstanceOf(BoxError);
      }
    }),
    runs(500),
  );
});

/** Where a chain of redirects goes, origin by origin. */
type Chain = readonly number[];

async function walk(chain: Chain): Promise<{ origin: number; authorization: string | null }[]> {
  const seen: { origin: number; authorization: string | null }[] = [];
  for (const [index, origin] of origins.entries()) {
    origin.mischief = (request) => {
      const step = seen.push({ origin: index, authorization: request.headers.get("authorization") });
      const next = chain[step];
      if (next === undefined) return new Response("end");
      return new Response(null, { status: 307, headers: { Location: `http://${origins[next]?.domain}/step${step}` } });
    };
  }
  const { domain } = origins[chain[0] ?? 0] as TestRegistry;
  await sendAndRead({ url: new URL(`http://${domain}/`), authorization: "Bearer secret" }, 100, {
    ...HTTP_DEFAULTS,
    tries: 1,
  });
  return seen;
}

test("FZ-15, REG-01: over any chain of redirects, credentials go as far as the first origin does, and no farther", async () => {
  const chain = fc.array(fc.integer({ min: 0, max: origins.length - 1 }), { minLength: 1, maxLength: 7 });
  await fc.assert(
    fc.asyncProperty(chain, async (steps) => {
      const seen = await walk(steps);
      expect(seen.map(({ origin }) => origin)).toEqual(steps);
      const left = steps.findIndex((step) => step !== steps[0]);
      const expected = steps.map((_, index) => (left < 0 || index < left ? "Bearer secret" : null));
      expect(seen.map(({ authorization }) => authorization)).toEqual(expected);
    }),
    runs(60),
  );
});
