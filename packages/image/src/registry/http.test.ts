import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HTTP_DEFAULTS, isLocalLiteral, isPrivateLiteral, parseRetryAfter, send, sendAndRead } from "./http.ts";
import { startRegistry } from "./registry-fixture.ts";

const registry = startRegistry();
const other = startRegistry();
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});
beforeEach(() => {
  registry.mischief = undefined;
  other.mischief = undefined;
  registry.requests.length = 0;
});

// The registry is in this very process: whatever keeps it busy must not look like a registry that stalls.
const settings = { ...HTTP_DEFAULTS, retryMs: 1, connectMs: 10_000, stallMs: 10_000 };
const url = (path: string, { domain } = registry) => new URL(`http://${domain}${path}`);
const redirect = (location: string) => new Response(null, { status: 302, headers: { Location: location } });

test.each<[string, string | null, number | undefined]>([
  ["seconds", "7", 7000],
  ["too many seconds", "86400", 60_000],
  ["absurdly many seconds", "9".repeat(400), 60_000],
  ["a date", "Thu, 01 Jan 1970 00:00:30 GMT", 29_000],
  ["a date gone by", "Thu, 01 Jan 1970 00:00:00 GMT", 0],
  ["nothing", null, undefined],
  ["nonsense", "-5", undefined],
  ["a fraction", "1.5", undefined],
])("parseRetryAfter() understands %s", (_, header, expected) => {
  expect(parseRetryAfter(header, 1000)).toBe(expected as number);
});

test.each<[string, boolean, boolean]>([
  ["localhost", true, false],
  ["127.0.0.1", true, false],
  ["0.0.0.0", true, false],
  ["169.254.169.254", true, false],
  ["[::1]", true, false],
  ["[fe80::1]", true, false],
  ["[::ffff:7f00:1]", true, false],
  ["10.1.2.3", false, true],
  ["172.16.0.1", false, true],
  ["172.32.0.1", false, false],
  ["100.64.0.1", false, true],
  ["192.168.1.1", false, true],
  ["[fd00::1]", false, true],
  ["10.example.org", false, false],
  ["example.org", false, false],
])("addresses: %s is this machine %p, private %p", (host, local, own) => {
  expect([isLocalLiteral(host), isPrivateLiteral(host)]).toEqual([local, own]);
});

test("send() leaves the authorization off once a redirect has left the origin, also on the way back", async () => {
  const seen: [string, string | null][] = [];
  const note = (request: Request, path: string) => seen.push([path, request.headers.get("authorization")]);
  registry.mischief = (request, path) => {
    note(request, path);
    if (path === "/a") return redirect("/b");
    return path === "/b" ? redirect(url("/c", other).href) : new Response("end");
  };
  other.mischief = (request, path) => {
    note(request, path);
    return redirect(url("/d").href);
  };
  const { body } = await sendAndRead({ url: url("/a"), authorization: "Bearer secret" }, 100, settings);
  expect(new TextDecoder().decode(body)).toBe("end");
  expect(seen).toEqual([
    ["/a", "Bearer secret"],
    ["/b", "Bearer secret"],
    ["/c", null],
    ["/d", null],
  ]);
});

test.each([
  ["a file", "file:///etc/hostname"],
  ["data", "data:text/plain,x"],
  ["a password", "http://user:pw@example.invalid/"],
  ["nonsense", "http://["],
  ["itself for ever", "/again"],
])("send() does not follow a redirect to %s", async (_, location) => {
  registry.mischief = () => redirect(location);
  const refused = send({ url: url("/again") }, settings);
  expect(refused).rejects.toMatchObject({ code: "registry-redirect" });
  await refused.catch(() => undefined);
  expect(registry.requests.length).toBeLessThanOrEqual(11);
});

test("send() tries five times, and answers what the last one was", async () => {
  registry.mischief = () => new Response("busy", { status: 503 });
  expect((await send({ url: url("/x") }, settings)).status).toBe(503);
  expect(registry.requests).toHaveLength(5);
});

test("send() does not ask again what a registry has refused", async () => {
  for (const status of [400, 401, 403, 404, 501]) {
    registry.requests.length = 0;
    registry.mischief = () => new Response("", { status });
    expect((await send({ url: url("/x") }, settings)).status).toBe(status);
    expect(registry.requests).toHaveLength(1);
  }
});

test("send() stops waiting when it is told to", async () => {
  registry.mischief = () => new Response("", { status: 429, headers: { "Retry-After": "30" } });
  const before = performance.now();
  const sent = send({ url: url("/x") }, { ...settings, signal: AbortSignal.timeout(50) });
  expect(sent).rejects.toMatchObject({ name: "TimeoutError" });
  await sent.catch(() => undefined);
  expect(performance.now() - before).toBeLessThan(10_000);
});

test("send() gives up on a registry that takes the connection and says nothing", async () => {
  using silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const url = new URL(`http://127.0.0.1:${silent.port}/`);
  const sent = send({ url }, { ...settings, tries: 1, connectMs: 200 });
  expect(sent).rejects.toMatchObject({
    code: "registry-unreachable",
    message: `Cannot reach "127.0.0.1:${silent.port}": it did not answer within 0.2 s`,
  });
  await sent.catch(() => undefined);
});

test.each([
  ["at hand", (bytes: Uint8Array) => bytes],
  [
    "that is a stream",
    (bytes: Uint8Array) =>
      async function* body() {
        yield bytes;
      },
  ],
])("a body %s has time to arrive before an answer is missed", async (_, bodyOf) => {
  const impatient = { ...settings, tries: 1, connectMs: 200 };
  registry.mischief = async (request) => {
    await Bun.sleep(2 * impatient.connectMs);
    return new Response(String((await request.arrayBuffer()).byteLength));
  };
  const body = bodyOf(new Uint8Array(256 << 10));
  const headers = { "Content-Length": String(256 << 10) };
  const answer = await sendAndRead({ url: url("/slow"), method: "PUT", headers, body }, 100, impatient);
  expect(Buffer.from(answer.body).toString()).toBe(String(256 << 10));
});

test("sendAndRead() ends at its limit, whatever is announced, and never inflates", async () => {
  registry.mischief = () =>
    new Response(Bun.gzipSync(Buffer.alloc(1 << 20)), { headers: { "Content-Encoding": "gzip" } });
  const { body } = await sendAndRead({ url: url("/x") }, 10_000, settings);
  expect([...body.subarray(0, 2)]).toEqual([0x1f, 0x8b]);
  registry.mischief = () =>
    new Response(
      new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(65536)),
      }),
    );
  const endless = sendAndRead({ url: url("/x") }, 1 << 20, settings);
  expect(endless).rejects.toMatchObject({ code: "registry-answer-too-large" });
  await endless.catch(() => undefined);
});

test("bytes that trickle are no stall", async () => {
  registry.mischief = () =>
    new Response(
      new ReadableStream({
        async pull(controller) {
          for (let n = 0; n < 5; n++) {
            controller.enqueue(new TextEncoder().encode("."));
            await Bun.sleep(400);
          }
          controller.close();
        },
      }),
    );
  const { body } = await sendAndRead({ url: url("/x") }, 100, { ...settings, stallMs: 1500 });
  expect(body.length).toBe(5);
});

/** Runs `code`, which has `settings` and `send` at hand, as another process with this environment. */
async function elsewhere(env: Record<string, string>, code: string): Promise<string> {
  const program = `
    import { HTTP_DEFAULTS, send, sendAndRead } from ${JSON.stringify(join(import.meta.dir, "http.ts"))};
    const settings = { ...HTTP_DEFAULTS, tries: 1 };
    ${code}
  `;
  const child = Bun.spawn([process.execPath, "-e", program], { env: { ...process.env, ...env }, stderr: "inherit" });
  return (await child.stdout.text()).trim();
}

test("loopback is reached directly, whatever the environment says of proxies", async () => {
  registry.mischief = () => new Response("direct");
  const proxies = {
    HTTP_PROXY: "http://127.0.0.1:1",
    http_proxy: "http://127.0.0.1:1",
    NO_PROXY: "",
    no_proxy: "example.org",
  };
  const code = `const { body } = await sendAndRead({ url: new URL("${url("/")}") }, 99, settings); console.log(body.toString());`;
  expect(await elsewhere(proxies, code)).toBe("direct");
});

if (Bun.which("openssl") === null) console.warn("skipped: there is no openssl to make a certificate");
test.skipIf(Bun.which("openssl") === null)(
  "a certificate that nobody vouches for is fatal, unless it is said to be fine",
  async () => {
    const directory = mkdtempSync(join(tmpdir(), "bantubox-tls-"));
    try {
      const [key, cert] = [join(directory, "key.pem"), join(directory, "cert.pem")];
      const options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost".split(
        " ",
      );
      const made = Bun.spawnSync(["openssl", ...options, "-keyout", key, "-out", cert]);
      expect(made.exitCode).toBe(0);
      await using server = Bun.serve({
        hostname: "127.0.0.1",
        port: 0,
        tls: { key: Bun.file(key), cert: Bun.file(cert) },
        fetch: () => new Response("secret"),
      });
      const code = `
      const url = new URL("https://127.0.0.1:${server.port}/");
      for (const verifyTls of [true, false]) {
        await send({ url }, { ...settings, verifyTls }).then((answer) => console.log(answer.status), (error) => console.log(error.code));
      }
      process.exit();
    `;
      // An environment must not be able to turn the check off.
      expect(await elsewhere({ NODE_TLS_REJECT_UNAUTHORIZED: "0" }, code)).toBe("registry-certificate\n200");
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
);
