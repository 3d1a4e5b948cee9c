import { describe, expect, test } from "bun:test";
import type { ContainerSummary } from "@bantubox/core";
import fc from "fast-check";
import { paintFor } from "./color.ts";
import { containerColumns, containerRow } from "./container-row.ts";
import { escapeJson, escapeText } from "./escape.ts";
import { filterContainers } from "./filter.ts";
import { ellipsis, formatDuration, formatSize, formatTable } from "./format.ts";
import { imageColumns, imageLines, imageRows } from "./image-row.ts";
import { formatListing } from "./listing.ts";
import { formatLayer, lines } from "./progress.ts";
import { parseTemplate } from "./template.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const nowMs = Date.UTC(2026, 0, 31, 12);
// biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may come out
const DANGEROUS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

const web: ContainerSummary = {
  id: "0123456789abcdef".repeat(4),
  name: "web",
  image: "nginx:1.27",
  imageId: `sha256:${"1".repeat(64)}`,
  network: "bridge",
  command: ["nginx", "-g", "daemon off;"],
  createdMs: nowMs - HOUR,
  status: "running",
  startedMs: nowMs - 3 * MINUTE,
  labels: { tier: "front" },
};
const job: ContainerSummary = {
  id: "fedcba9876543210".repeat(4),
  name: "job",
  image: "alpine",
  imageId: `sha256:${"2".repeat(64)}`,
  network: "none",
  command: ["sh", "-c", 'echo "done"'],
  createdMs: nowMs - 3 * DAY,
  status: "exited",
  exitCode: 137,
  finishedMs: nowMs - 2 * DAY,
  labels: {},
};
const hostile: ContainerSummary = {
  ...job,
  id: "a".repeat(64),
  name: "\x1b]0;pwned\x07",
  image: "x\u202egpj.exe",
  command: ["a\nb\r\x9b31m"],
  status: "created",
  labels: { "\x1b[2J": "\u2066" },
};

describe("tables", () => {
  const rows = [web, job, hostile].map((each) => containerRow(each, { nowMs, truncate: true }));

  test("of containers look like Docker's, and hold nothing that moves the cursor", () => {
    const table = formatListing({ columns: containerColumns, rows });
    expect(table).not.toMatch(DANGEROUS);
    expect(table).toMatchInlineSnapshot(`
      "CONTAINER ID   IMAGE              COMMAND                  CREATED             STATUS                    PORTS   NAMES
      0123456789ab   nginx:1.27         "nginx -g daemon off;"   About an hour ago   Up 3 minutes                      web
      fedcba987654   alpine             "sh -c echo \\"done\\""    3 days ago          Exited (137) 2 days ago           job
      aaaaaaaaaaaa   x\\u{202e}gpj.exe   "a\\nb\\r\\x9b31m"          3 days ago          Created                           \\x1b]0;pwned\\x07
      "
    `);
  });

  test("of images have a row for each name", () => {
    const image = {
      id: `sha256:${"12".repeat(32)}`,
      kind: "pulled",
      names: ["alpine:3.20", "localhost:5000/team/app:latest"],
      digests: [`alpine@sha256:${"ab".repeat(32)}`],
      platform: "linux/amd64",
      created: "2026-01-17T00:00:00Z",
      bytes: 7_340_000,
      layers: 1,
    } as const;
    const images = [
      ...imageRows(image, { nowMs, truncate: true }),
      ...imageRows({ ...image, names: [], created: "" }, { nowMs, truncate: true }),
    ];
    expect(formatListing({ columns: imageColumns, rows: images })).toMatchInlineSnapshot(`
      "REPOSITORY                TAG      IMAGE ID       CREATED       SIZE
      alpine                    3.20     121212121212   2 weeks ago   7.34MB
      localhost:5000/team/app   latest   121212121212   2 weeks ago   7.34MB
      <none>                    <none>   121212121212   N/A           7.34MB
      "
    `);
    expect(images.map(({ Digest }) => Digest)[0]).toBe(`sha256:${"ab".repeat(32)}`);
  });

  test("are the same rows as JSON lines", () => {
    const json = formatListing({ columns: containerColumns, rows, format: "json" });
    expect(json).not.toMatch(DANGEROUS);
    expect(
      json
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual(rows);
  });

  test("print by a template, with headings if it says table", () => {
    expect(formatListing({ columns: containerColumns, rows, format: "{{.Names}}={{.State}}" })).toMatchInlineSnapshot(`
      "web=running
      job=exited
      \\x1b]0;pwned\\x07=created
      "
    `);
    expect(
      formatListing({
        columns: containerColumns,
        rows: rows.slice(0, 2),
        format: "table {{.ID}}\\t{{.State}}\\t{{.CreatedAt}}",
      }),
    ).toMatchInlineSnapshot(`
      "CONTAINER ID   STATE     CREATED AT
      0123456789ab   running   2026-01-31 11:00:00 +0000 UTC
      fedcba987654   exited    2026-01-28 12:00:00 +0000 UTC
      "
    `);
    expect(
      formatListing({ columns: containerColumns, rows: [], format: "table {{.ID}}\\t{{.Names}}" }),
    ).toMatchInlineSnapshot(`
      "CONTAINER ID   NAMES
      "
    `);
  });

  test("print only IDs when quiet, in full if asked", () => {
    const full = [containerRow(web, { nowMs, truncate: false })];
    expect(formatListing({ columns: containerColumns, rows, quiet: "ID" }).split("\n")[0]).toBe("0123456789ab");
    expect(formatListing({ columns: containerColumns, rows: full, quiet: "ID" })).toBe(`${web.id}\n`);
  });

  test("are aligned by what a terminal shows, not by length", () => {
    expect(
      formatTable(
        ["A", "B"],
        [
          ["日本", "x"],
          ["é", "y"],
        ],
      ),
    ).toBe("A      B\n日本   x\né      y\n");
  });

  test("say what removing an image did, harmlessly", () => {
    expect(imageLines({ untagged: ["a:1"], deleted: "sha256:\x1b" })).toBe("Untagged: a:1\nDeleted: sha256:\\x1b");
  });
});

describe("words and sizes", () => {
  test.each([
    [0, "0B"],
    [999, "999B"],
    [1000, "1kB"],
    [7_340_032, "7.34MB"],
    [123_999_999, "124MB"],
    [999_700_000, "1GB"],
    [1.5e15, "1.5PB"],
  ])("formatSize(%d)", (bytes, expected) => expect(formatSize(bytes)).toBe(expected));

  // The table of Docker's own words (go-units).
  test.each([
    [450, "Less than a second"],
    [1000, "1 second"],
    [47_000, "47 seconds"],
    [MINUTE, "About a minute"],
    [3 * MINUTE, "3 minutes"],
    [35 * MINUTE, "35 minutes"],
    [HOUR, "About an hour"],
    [HOUR + 45 * MINUTE, "2 hours"],
    [3 * HOUR, "3 hours"],
    [3 * HOUR + 59 * MINUTE, "4 hours"],
    [DAY, "24 hours"],
    [DAY + 12 * HOUR, "36 hours"],
    [2 * DAY, "2 days"],
    [7 * DAY, "7 days"],
    [13 * DAY + 5 * HOUR, "13 days"],
    [14 * DAY, "2 weeks"],
    [13 * DAY + 12 * HOUR, "13 days"],
    [60 * DAY, "2 months"],
    [90 * DAY, "3 months"],
    [365 * DAY, "12 months"],
    [2 * 365 * DAY, "2 years"],
  ])("formatDuration(%d)", (ms, expected) => expect(formatDuration(ms)).toBe(expected));

  test("ellipsis() never cuts in the middle of a character, nor grows", () => {
    expect(ellipsis("日本語日本語", 6)).toBe("日本…");
    expect(ellipsis("e\u0301e\u0301e\u0301", 2)).toBe("e\u0301…");
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme" }),
        fc.integer({ min: 1, max: 30 }),
        (text, width) => Bun.stringWidth(ellipsis(text, width)) <= width || Bun.stringWidth(text) <= width,
      ),
    );
  });
});

describe("escapeText() and escapeJson()", () => {
  test.each([
    ["plain ü 日本 👩‍👩‍👧", "plain ü 日本 👩‍👩‍👧"],
    ["\x1b[31m\x07\0\x7f", "\\x1b[31m\\x07\\x00\\x7f"],
    ["a\nb\r\t", "a\\nb\\r\\t"],
    ["\x9b31m\x85", "\\x9b31m\\x85"],
    ["\u202eabc\u2066\u2028\u200f\ufeff", "\\u{202e}abc\\u{2066}\\u{2028}\\u{200f}\\u{feff}"],
    ["\u{e0041}", "\\u{e0041}"],
    ["\ud800x", "\\u{d800}x"],
  ])("%j", (text, expected) => expect(escapeText(text)).toBe(expected));

  test("whatever goes in, nothing dangerous comes out, and JSON stays the same value", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(escapeText(text)).not.toMatch(DANGEROUS);
        const json = escapeJson({ [text]: [text] }, 2);
        expect(json).not.toMatch(DANGEROUS);
        expect(Object.entries(JSON.parse(json))).toEqual([[text, [text]]]);
      }),
    );
  });
});

describe("parseTemplate()", () => {
  const object = {
    Id: "x",
    State: { Pid: 7, Running: true },
    Args: ["a", "b"],
    Config: { Labels: { "a.b": "c", z: "\x1b" } },
    None: null,
  };
  test.each([
    ["{{.Id}}-{{ .State.Pid }}\\t{{.State.Running}}", "x-7\ttrue"],
    ["{{json .State}}", '{"Pid":7,"Running":true}'],
    ['{{index .Config.Labels "a.b"}}', "c"],
    ['{{index .Config.Labels "none"}}', ""],
    ['{{index .Config.Labels "toString"}}', ""],
    ["{{index .Args 1}}", "b"],
    ["{{len .Args}}{{upper .Id}}", "2X"],
    ["{{.Args}} {{.Config.Labels}} {{.None}}", "[a b] map[a.b:c z:\\x1b] <nil>"],
    ["", ""],
  ])("%s", (source, expected) => expect(parseTemplate(source)(object)).toBe(expected));

  test.each([
    "{{",
    "{{}}",
    "{{range .Args}}{{end}}",
    "{{.Id .Args}}",
    "{{json}}",
    "{{bogus .Id}}",
    "{{.a-b}}",
    '{{index .Args "x}}',
  ])("refuses %s", (source) => {
    expect(() => parseTemplate(source)).toThrow(/^Cannot read --format/);
  });

  test.each([
    ["{{.Stat}}", 'Cannot show ".Stat": there is no such field'],
    ["{{.constructor}}", 'Cannot show ".constructor": there is no such field'],
    ["{{.Id.length}}", 'Cannot show ".length": what it is a field of has none'],
  ])("%s is no field", (source, message) => expect(() => parseTemplate(source)(object)).toThrow(message));

  test("shows values that are deeper than anyone nests them", () => {
    let deep: object = {};
    for (let i = 0; i < 1000; i++) deep = { deep };
    expect(parseTemplate("{{.deep}}")(deep)).toContain("…");
  });
});

describe("filterContainers()", () => {
  const names = (filters: string[], all = false): string[] =>
    filterContainers([web, job], filters, all).map(({ name }) => name);
  test.each<[string, string[], boolean, string[]]>([
    ["shows what runs", [], false, ["web"]],
    ["or all", [], true, ["web", "job"]],
    ["a status asks for those that ended", ["status=exited"], false, ["job"]],
    ["values of one key are alternatives", ["name=we", "name=jo"], true, ["web", "job"]],
    ["keys must all hold", ["name=web", "status=exited"], true, []],
    ["a label by name", ["label=tier"], true, ["web"]],
    ["a label by value", ["label=tier=back"], true, []],
    ["each label must hold", ["label=tier", "label=none"], true, []],
    ["an exit status", ["exited=137"], false, ["job"]],
    ["a name by a regular expression, with or without a slash", ["name=^web$", "name=^/jo.$"], true, ["web", "job"]],
    ["of which nothing else comes", ["name=^we$"], true, []],
    ["every name, by an empty one", ["name="], true, ["web", "job"]],
    ["nothing, by an empty filter", [""], true, ["web", "job"]],
    ["an image, with or without latest", ["ancestor=alpine"], true, ["job"]],
    ["an image by its ID", [`ancestor=sha256:${"1".repeat(64)}`], true, ["web"]],
    ["or the beginning of it", ["ancestor=2222"], true, ["job"]],
    ["a status of Docker's that nothing is in", ["status=dead", "status=removing"], true, []],
    ["an ID from its start", ["id=0123"], true, ["web"]],
    ["what is older", ["before=web"], true, ["job"]],
    ["what is newer", ["since=job"], true, ["web"]],
  ])("%s", (_, filters, all, expected) => expect(names(filters, all)).toEqual(expected));

  test.each(["bogus=1", "status", "status=", "status=none", "exited=x", "exited=1e2", "before=none", "name=("])(
    "refuses %s",
    (filter) => {
      expect(() => names([filter])).toThrow(/^Cannot/);
    },
  );
});

describe("progress", () => {
  const layer = `sha256:${"ab".repeat(32)}` as const;
  const paint = paintFor(false, {});

  test("elsewhere than on a terminal is a line for each step", () => {
    let text = "";
    using view = lines((each) => {
      text += each;
    });
    for (const phase of ["waiting", "downloading", "downloading", "extracting", "done"] as const)
      view.onProgress({ layer, phase, current: 1, total: 2_000_000 });
    expect(text).toMatchInlineSnapshot(`
      "abababababab: waiting for another pull (2MB)
      abababababab: downloading (2MB)
      abababababab: extracting (2MB)
      abababababab: done (2MB)
      "
    `);
  });

  test("on a terminal is a bar with speed and what is left, never wider than it", () => {
    const state = { phase: "downloading", current: 30e6, total: 40e6, samples: [{ atMs: 0, bytes: 10e6 }] } as const;
    const draw = (
      columns: number,
      each: Parameters<typeof formatLayer>[1] = { ...state, samples: [...state.samples] },
    ): string => formatLayer(layer, each, { nowMs: 2000, columns, paint });
    expect(draw(100)).toMatchInlineSnapshot(
      `"abababababab  ━━━━━━━━━━━━━━━━━━──────  downloading 30MB/40MB, 10MB/s, 1s left"`,
    );
    expect(Bun.stringWidth(draw(70))).toBeLessThan(70);
    expect(draw(40)).toBe("abababababab  downloading 30MB/40MB, 10");
    expect(draw(100, { phase: "exists", current: 1, total: 5e6, samples: [] })).toMatchInlineSnapshot(
      `"abababababab  already here 5MB"`,
    );
    expect(draw(100, { phase: "downloading", current: 0, total: 0, samples: [] })).toMatchInlineSnapshot(
      `"abababababab  ────────────────────────  downloading 0B/0B"`,
    );
  });
});

test.each([
  ["a terminal with all colours", true, { COLORTERM: "truecolor" }, "\x1b[38;2;158;200;185mx\x1b[39m"],
  ["a terminal with 256", true, {}, "\x1b[38;5;151mx\x1b[39m"],
  ["NO_COLOR", true, { NO_COLOR: "yes" }, "x"],
  ["an empty NO_COLOR", true, { NO_COLOR: "" }, "\x1b[38;5;151mx\x1b[39m"],
  ["a dumb terminal", true, { TERM: "dumb" }, "x"],
  ["no terminal", false, { COLORTERM: "truecolor" }, "x"],
])("paintFor() %s", (_, isTerminal, env, expected) => expect(paintFor(isTerminal, env)("mist", "x")).toBe(expected));
