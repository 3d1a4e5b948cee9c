import { afterAll, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { parseReference } from "../document/reference.ts";
import { FUZZ_TIMEOUT_MS, runs } from "../fuzz-fixture.ts";
import { checkRealm, mayReceivePassword, parseChallenges } from "./auth.ts";
import { openRepository } from "./registry.ts";
import { makeLayer, publish, startRegistry } from "./registry-fixture.ts";

setDefaultTimeout(FUZZ_TIMEOUT_MS);

const registry = startRegistry();
const tokens = startRegistry();
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await tokens[Symbol.asyncDispose]();
});
beforeEach(() => {
  registry.mischief = undefined;
  tokens.mischief = undefined;
});

test.each<[string, string, unknown[]]>([
  [
    "the usual one",
    'Bearer realm="https://a/t",service="s",scope="r:a,b"',
    [["bearer", { realm: "https://a/t", service: "s", scope: "r:a,b" }]],
  ],
  ["odd spacing", ' bearer  realm = "x" ,\tservice=y ', [["bearer", { realm: "x", service: "y" }]]],
  [
    "several",
    'Basic realm="a", Bearer realm="b",service=c',
    [
      ["basic", { realm: "a" }],
      ["bearer", { realm: "b", service: "c" }],
    ],
  ],
  ["escapes", 'Bearer realm="a\\"b\\\\c"', [["bearer", { realm: 'a"b\\c' }]]],
  ["a name said twice: the first counts", "Bearer realm=a,realm=b", [["bearer", { realm: "a" }]]],
  ["a scheme alone", "Negotiate", [["negotiate", {}]]],
  ["an open quote", 'Bearer realm="abc', [["bearer", {}]]],
  ["nothing", "", []],
])("parseChallenges() reads %s", (_, header, expected) => {
  const found: unknown[] = parseChallenges(header).map(({ scheme, parameters }) => [
    scheme,
    Object.fromEntries(parameters),
  ]);
  expect(found).toEqual(expected);
});

test("parseChallenges() takes any header, in little time", () => {
  const unit = fc.oneof(
    fc.integer({ min: 0, max: 0x2ff }).map((code) => String.fromCharCode(code)),
    fc.constantFrom(...'=", \\a'),
  );
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 200 }), (header) => void parseChallenges(header)),
    runs(100),
  );
  const before = performance.now();
  for (const unit of ["a", "a=", '"', 'a="\\', "a=b,", " ", ","]) parseChallenges(unit.repeat(16_000 / unit.length));
  expect(performance.now() - before).toBeLessThan(5000);
});

test.each<[string, string, string, boolean]>([
  ["its own host", "https://r.example.org/token", "https://r.example.org", true],
  ["another host", "https://auth.example.com/token", "https://r.example.org", true],
  ["a downgrade", "http://auth.example.com/token", "https://r.example.org", false],
  ["a file", "file:///etc/shadow", "https://r.example.org", false],
  ["this machine", "https://localhost/token", "https://r.example.org", false],
  ["this machine in disguise", "https://0x7f.1/token", "https://r.example.org", false],
  ["the cloud's metadata", "https://169.254.169.254/latest", "https://r.example.org", false],
  ["a private network", "https://10.0.0.1/token", "https://r.example.org", false],
  ["a private registry's own address", "https://10.0.0.1:8443/token", "https://10.0.0.1", true],
  ["another port of loopback", "http://localhost:5001/token", "http://127.0.0.1:5000", true],
  ["a password", "https://u:p@auth.example.com/", "https://r.example.org", false],
  ["nothing", "", "https://r.example.org", false],
])("checkRealm() of %s", (_, realm, base, fine) => {
  if (fine) expect(checkRealm(realm, new URL(base)).href).toBe(new URL(realm).href);
  else expect(() => checkRealm(realm, new URL(base))).toThrow(expect.objectContaining({ code: "registry-realm" }));
});

test.each<[string, string, boolean]>([
  ["https://r.example.org/t", "https://r.example.org", true],
  ["https://auth.docker.io/token", "https://registry-1.docker.io", true],
  ["https://example.org/jwt/auth", "https://r.example.org", true],
  ["https://evil.org/t", "https://r.example.org", false],
  ["https://auth.docker.io/token", "https://r.example.org", false],
  ["https://notexample.org/t", "https://r.example.org", false],
  ["https://org/t", "https://r.example.org", false],
  ["http://127.0.0.1:5001/t", "http://127.0.0.1:5000", false],
])("mayReceivePassword(): %s for %s is %p", (realm, base, expected) => {
  expect(mayReceivePassword(new URL(realm), new URL(base))).toBe(expected);
});

test("a registry that wants a token gets one, anonymously, again when it has expired, and the password stays here", async () => {
  const layer = makeLayer([{ path: "a", content: "a" }]);
  const image = publish(registry, "t/private:v1", [layer]);
  const asked: string[] = [];
  const passwords: (string | null)[] = [];
  let valid = "";
  tokens.mischief = (request) => {
    asked.push(new URL(request.url).search);
    passwords.push(request.headers.get("authorization"));
    valid = `token${asked.length}`;
    return Response.json({ access_token: valid, expires_in: 300 });
  };
  registry.mischief = (request) => {
    if (request.headers.get("authorization") === `Bearer ${valid}`) return undefined;
    const realm = `http://${tokens.domain}/token`;
    return new Response("", {
      status: 401,
      headers: { "WWW-Authenticate": `Bearer realm="${realm}",service="reg",scope="repository:other:push"` },
    });
  };
  const repository = openRepository(parseReference(`${registry.domain}/t/private`), {
    credentials: () => ({ username: "me", password: "secret" }),
  });
  await repository.manifest("v1");
  await repository.manifest("v1");
  valid = "revoked meanwhile";
  (await repository.blob(image.config, 0)).discard();
  const search = "?service=reg&scope=repository%3At%2Fprivate%3Apull";
  expect(asked).toEqual([search, search]);
  expect(passwords).toEqual([null, null]);
});

test("a token whose time is over is not shown again: another one is asked for", async () => {
  const image = publish(registry, "t/short:v1", [makeLayer([{ path: "a", content: "a" }])]);
  let count = 0;
  tokens.mischief = () => Response.json({ token: `token${++count}`, expires_in: 1 });
  registry.mischief = (request) => {
    if (request.headers.get("authorization") === `Bearer token${count}` && count > 0) return undefined;
    return new Response("", {
      status: 401,
      headers: { "WWW-Authenticate": `Bearer realm="http://${tokens.domain}/"` },
    });
  };
  const repository = openRepository(parseReference(`${registry.domain}/t/short`), { credentials: () => undefined });
  await repository.manifest("v1");
  await Bun.sleep(1100);
  // A slow machine may have asked for more than one already.
  const before = count;
  const first = `token${before}`;
  registry.mischief = (request) => {
    const shown = request.headers.get("authorization");
    if (shown !== null && shown !== `Bearer ${first}`) return undefined;
    return new Response("", {
      status: 401,
      headers: { "WWW-Authenticate": `Bearer realm="http://${tokens.domain}/"` },
    });
  };
  (await repository.blob(image.config, 0)).discard();
  expect(count).toBe(before + 1);
});

test("a registry that refuses every token is an error after two requests, not a loop", async () => {
  tokens.mischief = () => Response.json({ token: "x" });
  registry.mischief = () =>
    new Response("", { status: 401, headers: { "WWW-Authenticate": `Bearer realm="http://${tokens.domain}/"` } });
  registry.requests.length = 0;
  const repository = openRepository(parseReference(`${registry.domain}/t/x`), { credentials: () => undefined });
  const asked = repository.manifest("v1");
  expect(asked).rejects.toMatchObject({ code: "registry-unauthorized" });
  await asked.catch(() => undefined);
  expect(registry.requests).toHaveLength(2);
});

test.each<[string, () => Response]>([
  ["no JSON", () => new Response("<html>")],
  ["no token", () => Response.json({})],
  ["a token with a line break", () => Response.json({ token: "a\r\nX-Evil: 1" })],
  ["a token of 2 MiB", () => Response.json({ token: "a".repeat(2 << 20) })],
  ["a refusal", () => new Response("", { status: 403 })],
])("%s from the token service is an error", async (_, answer) => {
  tokens.mischief = answer;
  registry.mischief = () =>
    new Response("", { status: 401, headers: { "WWW-Authenticate": `Bearer realm="http://${tokens.domain}/"` } });
  const repository = openRepository(parseReference(`${registry.domain}/t/x`), { credentials: () => undefined });
  const asked = repository.manifest("v1");
  expect(asked).rejects.toMatchObject({ code: expect.stringMatching(/^registry-(?:unauthorized|answer-too-large)$/) });
  await asked.catch(() => undefined);
});

test("a registry that wants a password gets it at its own origin, and not where it redirects to", async () => {
  const image = publish(registry, "t/basic:v1", [makeLayer([])]);
  const seen: (string | null)[] = [];
  registry.mischief = (request, path) => {
    if (request.headers.get("authorization") !== `Basic ${btoa("me:pass:word")}`) {
      return new Response("", { status: 401, headers: { "WWW-Authenticate": 'Basic realm="r"' } });
    }
    return path.includes("/blobs/") ? Response.redirect(`http://${tokens.domain}${path}`, 307) : undefined;
  };
  tokens.mischief = (request) => {
    seen.push(request.headers.get("authorization"));
    return new Response("blob");
  };
  const repository = openRepository(parseReference(`${registry.domain}/t/basic`), {
    credentials: () => ({ username: "me", password: "pass:word" }),
  });
  const answer = await repository.blob(image.config, 0);
  expect(new TextDecoder().decode(await answer.read(10))).toBe("blob");
  expect(seen).toEqual([null]);
});
