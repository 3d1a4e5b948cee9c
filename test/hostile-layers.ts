/**
 * Layers that mean harm, and twins that look like them and must work: one table for every door.
 *
 * `OUT` stands for a directory of the host's that attacks aim at, without its first slash; its `file` and `dir/file` are
 * what they want.
 */
import type { FixtureEntry } from "../packages/image/src/tar/tar-fixture.ts";

export interface HostileLayers {
  readonly ids: string;
  readonly what: string;
  readonly layers: readonly (readonly FixtureEntry[])[];
  /** The lines of the tree without its root, or the error. */
  readonly expected: Outcome;
  /**
   * What `cp` of a tar stream makes of the only layer, where that is something else: it fills a container that has OUT
   * and OUT/dir, knows no whiteouts, and follows links into directories that are there.
   */
  readonly cp?: Outcome;
}

type Outcome = readonly string[] | RegExp;

export const hello = "5 aaf4c61ddcc5";
export const file = (name: string): FixtureEntry => ({ name, data: "hello" });
const link = (name: string, linkname: string): FixtureEntry => ({ name, type: "2", linkname });
const hard = (name: string, linkname: string): FixtureEntry => ({ name, type: "1", linkname });
const directory = (name: string, mode = 0o755): FixtureEntry => ({ name, type: "5", mode });

const BREAKOUTS: readonly Omit<HostileLayers, "ids">[] = [
  {
    what: "a name that climbs",
    layers: [[file("../../../../../../OUT/new")]],
    expected: ["OUT 40755 0:0", `OUT/new 100644 0:0 ${hello}`],
  },
  {
    what: "an absolute name",
    layers: [[file("/OUT/file")]],
    expected: ["OUT 40755 0:0", `OUT/file 100644 0:0 ${hello}`],
  },
  {
    what: "a link to the host, written through",
    layers: [[link("way", "/OUT"), file("way/file")]],
    expected: ["OUT 40755 0:0", `OUT/file 100644 0:0 ${hello}`, "way 120777 0:0 -> /OUT"],
  },
  {
    what: "the same with the link in a lower layer",
    layers: [[link("way", "/OUT")], [file("way/file")]],
    expected: ["way 40755 0:0", `way/file 100644 0:0 ${hello}`],
  },
  {
    what: "a link that climbs",
    layers: [[directory("a"), link("a/up", "../../../.."), file("a/up/new")]],
    expected: ["a 40755 0:0", "a/up 120777 0:0 -> ../../../..", `new 100644 0:0 ${hello}`],
  },
  {
    what: "a chain of links",
    layers: [[link("one", "two"), link("two", "/OUT"), file("one/dir/file")]],
    expected: [
      "OUT 40755 0:0",
      "OUT/dir 40755 0:0",
      `OUT/dir/file 100644 0:0 ${hello}`,
      "one 120777 0:0 -> two",
      "two 120777 0:0 -> /OUT",
    ],
  },
  {
    what: "a file over a link to a file of the host's",
    layers: [[link("file", "/OUT/file"), file("file")]],
    expected: [`file 100644 0:0 ${hello}`],
  },
  {
    what: "a mode for a link's target",
    layers: [[link("way", "/OUT"), directory("way", 0o777)]],
    expected: ["way 40777 0:0"],
    cp: ["way 120777 0:0 -> /OUT"],
  },
  {
    what: "a hard link to a file of the host's",
    layers: [[hard("mine", "/OUT/file")]],
    expected: /this layer has no such file/,
    cp: /is not there/,
  },
  {
    what: "a hard link that climbs",
    layers: [[hard("mine", "../../../../../OUT/file")]],
    expected: /this layer has no such file/,
    cp: /is not there/,
  },
  {
    what: "a hard link through a link",
    layers: [[link("way", "/OUT"), hard("mine", "way/file")]],
    expected: /this layer has no such file/,
    cp: /is not there/,
  },
  {
    what: "a hard link to a link, written to",
    layers: [[link("way", "/OUT/file"), hard("twin", "way"), file("twin")]],
    expected: [`twin 100644 0:0 ${hello}`, "way 120777 0:0 -> /OUT/file"],
  },
  {
    what: "a name of a link and a dot",
    layers: [[link("way/.", "/OUT"), file("way/file")]],
    expected: ["OUT 40755 0:0", `OUT/file 100644 0:0 ${hello}`, "way 120777 0:0 -> /OUT"],
  },
  {
    what: "the root itself as a link",
    layers: [[link("./", "/OUT"), file("file")]],
    expected: /the root can only be a directory/,
    cp: [`file 100644 0:0 ${hello}`],
  },
  {
    what: "a link of /proc",
    layers: [[link("way", "/proc/self/root"), file("way/OUT/file")]],
    expected: [
      "proc 40755 0:0",
      "proc/self 40755 0:0",
      "proc/self/root 40755 0:0",
      "proc/self/root/OUT 40755 0:0",
      `proc/self/root/OUT/file 100644 0:0 ${hello}`,
      "way 120777 0:0 -> /proc/self/root",
    ],
    cp: /Cannot open "way": ENOENT/,
  },
  {
    what: "a whiteout that climbs",
    layers: [[file("../../../OUT/.wh.file")]],
    expected: ["OUT 40755 0:0"],
    cp: ["OUT 40755 0:0", `OUT/.wh.file 100644 0:0 ${hello}`],
  },
  {
    what: "a whiteout through a link",
    layers: [[link("way", "/OUT"), file("way/.wh.file")]],
    expected: ["OUT 40755 0:0", "way 120777 0:0 -> /OUT"],
    cp: ["OUT 40755 0:0", `OUT/.wh.file 100644 0:0 ${hello}`, "way 120777 0:0 -> /OUT"],
  },
  {
    what: "an opaque mark through a link",
    layers: [[link("way", "/OUT"), file("way/.wh..wh..opq")]],
    expected: ["OUT 40755 0:0", "way 120777 0:0 -> /OUT"],
    cp: ["OUT 40755 0:0", `OUT/.wh..wh..opq 100644 0:0 ${hello}`, "way 120777 0:0 -> /OUT"],
  },
  {
    what: "a name of 5000 characters",
    layers: [[{ name: "x", pax: { path: "n/".repeat(2500) } }]],
    expected: /the name has|directories deep|ENAMETOOLONG/,
  },
  {
    what: "a component of 300",
    layers: [[{ name: "x", pax: { path: "n".repeat(300) } }]],
    expected: /ENAMETOOLONG/,
  },
];

const TWIN: Omit<HostileLayers, "ids"> = {
  what: "twin: absolute links, hard links by absolute names, entries without their parents, names with dots",
  layers: [
    [
      directory("usr/lib"),
      link("lib", "/usr/lib"),
      file("./lib/libc.so"),
      hard("kaniko", "/usr/lib/libc.so"),
      file("no/entry/for/these"),
      file("..data"),
      file("...//odd"),
      file("dir/../plain"),
      directory("system/etc"),
      link("etc", "/system/etc"),
      file("etc/passwd"),
    ],
  ],
  expected: [
    "... 40755 0:0",
    `.../odd 100644 0:0 ${hello}`,
    `..data 100644 0:0 ${hello}`,
    "etc 120777 0:0 -> /system/etc",
    `kaniko 100644 0:0 ${hello}`,
    "lib 120777 0:0 -> /usr/lib",
    "no 40755 0:0",
    "no/entry 40755 0:0",
    "no/entry/for 40755 0:0",
    `no/entry/for/these 100644 0:0 ${hello}`,
    `plain 100644 0:0 ${hello}`,
    "system 40755 0:0",
    "system/etc 40755 0:0",
    `system/etc/passwd 100644 0:0 ${hello}`,
    "usr 40755 0:0",
    "usr/lib 40755 0:0",
    `usr/lib/libc.so 100644 0:0 = kaniko ${hello}`,
  ],
};

const LOWER = [
  file("a"),
  file("b"),
  file("dir/one"),
  file("dir/two"),
  file("opaque/lower"),
  directory(".hidden"),
  file("kept"),
];
const UPPER = [
  file(".wh.a"),
  file("dir/.wh.one"),
  file("opaque/new"),
  file("opaque/.wh..wh..opq"),
  file(".wh..hidden"),
  file("kept"),
  file(".wh.kept"),
];
const HIDDEN = [
  `b 100644 0:0 ${hello}`,
  "dir 40755 0:0",
  `dir/two 100644 0:0 ${hello}`,
  `kept 100644 0:0 ${hello}`,
  "opaque 40755 0:0",
  `opaque/new 100644 0:0 ${hello}`,
];

const WHITEOUTS: readonly Omit<HostileLayers, "ids">[] = [
  { what: "take one name each, of lower layers", layers: [LOWER, UPPER], expected: HIDDEN },
  { what: "do so in any order", layers: [LOWER, UPPER.toReversed()], expected: HIDDEN },
  {
    what: "of nothing",
    layers: [[file(".wh.")]],
    expected: /names nothing/,
    cp: [`.wh. 100644 0:0 ${hello}`],
  },
  { what: "of a dot", layers: [[file(".wh..")]], expected: /names nothing/, cp: [`.wh.. 100644 0:0 ${hello}`] },
  {
    what: "of the directory above",
    layers: [[file("dir/.wh...")]],
    expected: /names nothing/,
    cp: ["dir 40755 0:0", `dir/.wh... 100644 0:0 ${hello}`],
  },
  {
    what: "as directories",
    layers: [[file(".wh.dir/file")]],
    expected: /whiteouts are no directories/,
    cp: [".wh.dir 40755 0:0", `.wh.dir/file 100644 0:0 ${hello}`],
  },
];

const TWICE: readonly Omit<HostileLayers, "ids">[] = [
  {
    what: "a link and then a file counts as the file, and so do two files and a file and a link",
    layers: [
      [
        link("a", "/OUT/file"),
        file("a"),
        { name: "b", data: "first" },
        file("b"),
        file("c"),
        link("c", "/OUT/file"),
        hard("d", "b"),
        file("d"),
      ],
    ],
    expected: [`a 100644 0:0 ${hello}`, `b 100644 0:0 ${hello}`, "c 120777 0:0 -> /OUT/file", `d 100644 0:0 ${hello}`],
  },
  {
    what: "a directory and then a file counts as the file",
    layers: [[directory("b"), file("b/x"), file("b")]],
    expected: [`b 100644 0:0 ${hello}`],
    cp: /Cannot replace "b": it is a directory/,
  },
  {
    what: "a file and then a directory counts as the directory",
    layers: [[file("c"), directory("c", 0o700)]],
    expected: ["c 40700 0:0"],
    cp: /cannot take the place of a/,
  },
  {
    what: "what replaces a link does not go where it leads, also over a lower layer",
    layers: [
      [file("lower"), directory("merged"), file("merged/old")],
      [link("lower", "/OUT"), file("lower"), link("merged", "/OUT"), directory("merged"), file("merged/new")],
    ],
    expected: [
      `lower 100644 0:0 ${hello}`,
      "merged 40755 0:0",
      `merged/new 100644 0:0 ${hello}`,
      `merged/old 100644 0:0 ${hello}`,
    ],
  },
];

const CAPABILITY = Buffer.from("0100000200200000000000000000000000000000", "hex");

const ODD: readonly Omit<HostileLayers, "ids">[] = [
  {
    what: "twin: devices, setuid, capabilities and high owners are kept, attributes of the host's kernel are not",
    layers: [
      [
        { name: "null", type: "3", devMajor: 1, devMinor: 3, mode: 0o666 },
        { name: "su", mode: 0o4755, uid: 0, data: "hello" },
        { name: "ping", mode: 0o755, data: "hello", pax: { "SCHILY.xattr.security.capability": CAPABILITY } },
        {
          name: "marked",
          data: "hello",
          pax: {
            "SCHILY.xattr.trusted.overlay.redirect": "/etc",
            "SCHILY.xattr.user.overlay.opaque": "y",
            "SCHILY.xattr.security.selinux": "x",
          },
        },
        { name: "theirs", uid: 65_534, gid: 4_294_967_294, data: "hello", pax: { gid: "4294967294" } },
      ],
    ],
    expected: [
      `marked 100644 0:0 ${hello}`,
      "null 20666 0:0 device 1:3",
      `ping 100755 0:0 ${hello} security.capability=${CAPABILITY.toString("hex")}`,
      `su 104755 0:0 ${hello}`,
      `theirs 100644 65534:4294967294 ${hello}`,
    ],
  },
  { what: "overlay's own whiteout", layers: [[{ name: "x", type: "3" }]], expected: [], cp: /mknodat.*EPERM/ },
  {
    what: "a user that cannot be",
    layers: [[{ name: "x", pax: { uid: "4294967295" } }]],
    expected: /does not exist on Linux/,
  },
  { what: "a group below zero", layers: [[{ name: "x", pax: { gid: "-1" } }]], expected: /does not exist on Linux/ },
  {
    what: "a device that cannot be",
    layers: [[{ name: "x", type: "3", devMajor: 4096 }]],
    expected: /Linux has no device/,
  },
];

export const HOSTILE_LAYERS: readonly HostileLayers[] = [
  ...BREAKOUTS.map((each) => ({ ids: "TAR-01, TAR-02", ...each })),
  { ids: "TAR-02", ...TWIN },
  ...WHITEOUTS.map((each) => ({ ids: "TAR-03", ...each, what: `whiteouts ${each.what}` })),
  ...TWICE.map((each) => ({ ids: "TAR-06", ...each })),
  ...ODD.map((each) => ({ ids: "TAR-07", ...each })),
];
