import { expect, test } from "bun:test";
import { hostResolvConf, hostsFile, resolvConf } from "./resolv.ts";

test.each([
  [
    "keeps the host's servers, search and options",
    "nameserver 192.0.2.53\nsearch a.example b.example\noptions ndots:2\n",
    {},
    "nameserver 192.0.2.53\nsearch a.example b.example\noptions ndots:2\n",
  ],
  [
    "drops servers on the loopback and with IPv6 addresses",
    "nameserver 127.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver 192.0.2.53\n",
    {},
    "nameserver 192.0.2.53\n",
  ],
  [
    "takes public servers where none is left",
    "nameserver 127.0.0.1\nsearch a.example\n",
    {},
    "nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch a.example\n",
  ],
  ["takes public servers where there is no file", "", {}, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"],
  [
    "understands comments, tabs, domain and several options lines",
    "# x\n;y\nnameserver\t192.0.2.53 # mine\ndomain old.example\noptions a\noptions b:1\n",
    {},
    "nameserver 192.0.2.53\nsearch old.example\noptions a b:1\n",
  ],
  [
    "lets options replace the host's",
    "nameserver 192.0.2.53\nsearch a.example\noptions ndots:2\n",
    { dns: ["127.0.0.1", "2001:db8::1"], search: ["c.example"], options: ["rotate"] },
    "nameserver 127.0.0.1\nnameserver 2001:db8::1\nsearch c.example\noptions rotate\n",
  ],
  [
    "searches nowhere when asked for a dot",
    "nameserver 192.0.2.53\nsearch a.example\n",
    { search: ["."] },
    "nameserver 192.0.2.53\n",
  ],
  [
    "passes over nonsense",
    "nameserver no-address\nnameserver\nfoo bar\n\0\nnameserver 192.0.2.53",
    {},
    "nameserver 192.0.2.53\n",
  ],
])("resolvConf() %s", (_, host, options, expected) => expect(resolvConf(host, options)).toBe(expected));

test.each([
  [{ dns: ["192.0.2.1\nnameserver 6.6.6.6"] }],
  [{ dns: ["dns.example"] }],
  [{ dns: [""] }],
  [{ search: ["a.example\nnameserver 6.6.6.6"] }],
  [{ search: ["a b"] }],
  [{ options: ["x\ry"] }],
  [{ options: ["#"] }],
])("resolvConf() refuses %j", (options) => {
  expect(() => resolvConf("", options)).toThrow(expect.objectContaining({ code: "bad-dns" }));
});

test("hostResolvConf() reads this host's file, or what systemd-resolved keeps behind it", () => {
  expect(typeof hostResolvConf()).toBe("string");
  expect(resolvConf(hostResolvConf())).toMatch(/^nameserver \d/);
});

test("hostsFile() lists the loopback, extra names and the container itself", () => {
  expect(
    hostsFile({
      hostname: "web.example",
      address: "10.88.0.2",
      extra: [
        ["db", "10.88.0.3"],
        ["v6", "fd00::1"],
      ],
    }),
  ).toBe(
    [
      "127.0.0.1\tlocalhost",
      "::1\tlocalhost ip6-localhost ip6-loopback",
      "fe00::\tip6-localnet",
      "ff00::\tip6-mcastprefix",
      "ff02::1\tip6-allnodes",
      "ff02::2\tip6-allrouters",
      "10.88.0.3\tdb",
      "fd00::1\tv6",
      "10.88.0.2\tweb.example web",
      "",
    ].join("\n"),
  );
  expect(hostsFile({ hostname: "alone" })).toEndWith("127.0.0.1\talone\n");
});

test.each([
  [{ hostname: "a\n6.6.6.6 bank.example" }],
  [{ hostname: "" }],
  [{ hostname: "a", address: "nowhere" }],
  [{ hostname: "a", extra: [["b c", "192.0.2.1"]] as const }],
  [{ hostname: "a", extra: [["b", "192.0.2.1\n6.6.6.6 bank.example"]] as const }],
])("hostsFile() refuses %j", (options) => {
  expect(() => hostsFile(options)).toThrow(expect.objectContaining({ code: "bad-host" }));
});
