/** What we make of an image, file by file, against what umoci and GNU tar make of the same bytes. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Registry, startRegistry } from "./docker-registry.ts";
import { newStore } from "./harness.ts";
import { imageTree, must, treeOf } from "./image-tree.ts";

let registry: Registry;
let directory = "";

beforeAll(async () => {
  registry = await startRegistry();
  directory = mkdtempSync(join(tmpdir(), "bb-trees-"));
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

/** As a distribution's installer leaves a root, and everything else that a file system can hold. */
const FIRST = `
  umask 022
  mkdir -p bin etc/skel usr/bin usr/lib usr/share/doc/pkg var/lib var/mail var/log root tmp dev opt/empty srv
  rmdir bin; ln -s usr/bin bin; ln -s usr/lib lib; ln -s /run var/run; ln -s ../../lib var/lib/up
  printf 'root:x:0:0::/root:/bin/sh\\n' > etc/passwd; chmod 644 etc/passwd; printf x > etc/shadow; chmod 640 etc/shadow; chgrp 42 etc/shadow
  printf program > usr/bin/perl; chmod 755 usr/bin/perl; ln usr/bin/perl usr/bin/perl5.36.0; ln usr/bin/perl usr/lib/perl-twin
  printf su > usr/bin/su; chmod 4755 usr/bin/su; printf wall > usr/bin/wall; chgrp 5 usr/bin/wall; chmod 2755 usr/bin/wall
  printf ping > usr/bin/ping; chmod 755 usr/bin/ping; setcap cap_net_raw+ep usr/bin/ping
  printf x > usr/share/doc/pkg/labelled; setfattr -n user.comment -v "two words" usr/share/doc/pkg/labelled; setfattr -n user.bytes -v 0x00ff0a3d usr/share/doc/pkg/labelled
  setfattr -n user.dir -v yes usr/share/doc
  chmod 1777 tmp; chmod 700 root; chgrp 8 var/mail; chmod 2775 var/mail; chown 1000:1001 srv; chmod 000 opt/empty
  truncate -s 3M var/log/lastlog; printf end | dd of=var/log/lastlog bs=1 seek=1500000 conv=notrunc status=none
  mkdir -p "usr/share/$(printf 'n%.0s' $(seq 120))/$(printf 'm%.0s' $(seq 200))"
  printf deep > "usr/share/$(printf 'n%.0s' $(seq 120))/$(printf 'm%.0s' $(seq 200))/$(printf 'f%.0s' $(seq 255))"
  ln -s "$(printf 'target/%.0s' $(seq 60))end" usr/share/long-link
  printf bytes > "etc/$(printf 'caf\\351-\\377')"; printf utf > 'etc/café ☃'; printf odd > 'etc/  -rf "quoted" \\back$dollar'
  printf newline > "etc/$(printf 'two\\nlines')"
  : > etc/empty; printf 'content' > etc/old; mkdir etc/gone.d; printf x > etc/gone.d/one; mkdir -p etc/opaque.d/sub; printf x > etc/opaque.d/sub/lower
  mknod dev/null c 1 3; chmod 666 dev/null; mknod dev/sda b 8 0; chmod 660 dev/sda; chgrp 6 dev/sda; mknod dev/big c 300 70000; mkfifo -m 622 dev/initctl
  touch -h -d '1999-12-31 23:59:59.987654321Z' bin etc/passwd; touch -d '2001-02-03 04:05:06.000000007Z' usr/bin/su; touch -d '1965-01-01 00:00:00Z' etc/empty
  touch -d '2038-02-01 00:00:00.5Z' srv
`;

const SECOND = `
  umask 022
  rm etc/old; rm -r etc/gone.d; rm -r etc/opaque.d; mkdir etc/opaque.d; printf upper > etc/opaque.d/new
  rm usr/bin/perl5.36.0; printf changed > usr/bin/perl; chmod 6711 usr/bin/perl
  rm -r opt/empty; ln -s /etc opt/empty; rm lib; mkdir lib; printf real > lib/file
  chown 7:7 etc/shadow; chmod 600 etc/shadow; printf more >> var/log/lastlog; mv usr/share/doc/pkg usr/share/doc/renamed
  rm 'etc/café ☃'; printf again > "etc/$(printf 'caf\\351-\\377')"; setfattr -n user.comment -v other usr/bin/su
  # umoci writes no entry for a directory that only has something changed below it, or within the same second, and we
  # give such a one a time of our own.
  touch -d '2021-05-06 07:08:09Z' . usr usr/bin usr/lib usr/share usr/share/doc var var/log etc etc/opaque.d opt lib
`;

/** What one of them says and the other does not, so that a failure shows no ten thousand equal lines. */
function differences(ours: readonly string[], theirs: readonly string[]): { ours: string[]; theirs: string[] } {
  const [a, b] = [new Set(ours), new Set(theirs)];
  return { ours: ours.filter((line) => !b.has(line)), theirs: theirs.filter((line) => !a.has(line)) };
}

test("owners, modes, times, links, holes, devices and attributes are those that umoci and GNU tar unpack", async () => {
  const layout = join(directory, "oci");
  const image = `${layout}:latest`;
  const bundle = join(directory, "bundle");
  await must(["umoci", "init", "--layout", layout]);
  await must(["umoci", "new", "--image", image]);
  // By GNU tar, since umoci cuts times to seconds and fills holes.
  const [root, tar] = [join(directory, "root"), join(directory, "first.tar")];
  mkdirSync(root);
  await must(["sh", "-ec", FIRST], root);
  await must(["tar", "-C", root, "--format=posix", "--sparse", "--xattrs", "--numeric-owner", "-cf", tar, "."]);
  await must(["umoci", "raw", "add-layer", "--image", image, tar]);
  await must(["umoci", "unpack", "--image", image, bundle]);
  await must(["sh", "-ec", SECOND], join(bundle, "rootfs"));
  await must(["umoci", "repack", "--image", image, bundle]);
  rmSync(bundle, { recursive: true });
  const name = `${registry.host}/trees:1`;
  await must(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", `oci:${image}`, `docker://${name}`]);
  await must(["umoci", "unpack", "--image", image, bundle]);

  await using store = await newStore();
  await store.ok(["pull", "--quiet", name]);
  const ours = await imageTree(store, name);
  const theirs = await treeOf(join(bundle, "rootfs"));
  // That there was something to be compared.
  for (const wanted of [
    /^etc\/caf\xe9-\xff /,
    /security\.capability=/,
    /^dev\/big 20644 0:0 [0-9]+ device /,
    /106711 /,
    / = usr\//,
    /946684799987654321/,
  ]) {
    expect(ours).toContainEqual(expect.stringMatching(wanted));
  }
  expect(differences(ours, theirs)).toEqual({ ours: [], theirs: [] });

  // The first layer alone, which holds no whiteouts: GNU tar knows none.
  const unpacked = join(directory, "gnu");
  mkdirSync(unpacked);
  const flags = ["--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*"];
  await must(["tar", "-C", unpacked, "-xpf", tar, ...flags]);
  const layer = new Bun.CryptoHasher("sha256").update(readFileSync(tar)).digest("hex");
  const [first, gnu] = [await treeOf(join(store.root, "layers", layer)), await treeOf(unpacked)];
  expect(differences(first, gnu)).toEqual({ ours: [], theirs: [] });
  expect(differences(gnu, await treeOf(root))).toEqual({ ours: [], theirs: [] });
  // The holes are still holes.
  const { blocks } = statSync(join(store.root, "layers", layer, "var/log/lastlog"));
  expect(blocks * 512).toBeLessThan(64 << 10);
}, 120_000);
