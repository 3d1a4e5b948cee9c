import { BoxError } from "@bantubox/ffi";
import { quote } from "../document/digest.ts";
import { proxyFor } from "./proxy.ts";

/** How one registry is spoken to. Times are in milliseconds. */
export interface HttpSettings {
  /** Longest wait for an answer's first byte, once what was sent can have arrived. */
  readonly connectMs: number;
  /** Longest silence within a body. Bytes that trickle are no silence. */
  readonly stallMs: number;
  /** First pause between two tries; it doubles, with jitter. */
  readonly retryMs: number;
  /** How often one request is made before its failure counts. */
  readonly tries: number;
  /** Whether certificates are checked. */
  readonly verifyTls: boolean;
  /** Authorities to trust besides the usual ones, and what we show of ourselves. */
  readonly certificates?: Certificates | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** In PEM. */
export interface Certificates {
  /** Every authority that is trusted; the usual ones when absent. */
  readonly ca?: readonly string[] | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

export const HTTP_DEFAULTS: HttpSettings = {
  connectMs: 25_000,
  stallMs: 60_000,
  retryMs: 500,
  tries: 5,
  verifyTls: true,
};

type Method = "GET" | "HEAD" | "POST" | "PUT" | "PATCH";

export interface Request {
  readonly url: URL;
  readonly method?: Method;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent again with every try and redirect; a function makes a stream anew each time. */
  readonly body?: Uint8Array | (() => AsyncIterable<Uint8Array>) | undefined;
  /** Goes to `url`'s own origin only, never along with a redirect elsewhere. */
  readonly authorization?: string | undefined;
  /** The body is for `url`'s own origin only: a redirect elsewhere is refused. */
  readonly isSecret?: boolean;
}

/** A response whose body is read at most once, under limits. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Chunks as they come. @throws {BoxError} `registry-unreachable` when they stop too early or for too long. */
  chunks(): AsyncGenerator<Uint8Array>;
  /** The whole body. @throws {BoxError} `registry-answer-too-large` past `limit` bytes. */
  read(limit: number): Promise<Uint8Array>;
  discard(): void;
}

const REDIRECTS = 10;
const REDIRECT_STATUS = new Set([301, 302, 303, 307, 308]);
/** 501 and 505 will not get better. */
const RETRY_STATUS = new Set([429, 500, 502, 503, 504]);
const RETRY_AFTER_MAX_MS = 60_000;
/** Bytes in a millisecond that the slowest line takes for which a push still waits. */
const UPLOAD_RATE = 32;
/** What is on its way of a stream when its next piece is asked for: the kernel's buffers hold no more. */
const IN_FLIGHT = 4 << 20;

/**
 * Makes a request, again after failures that may pass, and follows redirects.
 *
 * Answers whatever status the last try had; what never answered throws.
 *
 * @throws {BoxError} `registry-unreachable`, `registry-certificate`, `registry-redirect`
 */
export function send(request: Request, settings: HttpSettings): Promise<Answer> {
  return exchange(request, settings, (answer) => answer);
}

/** Asks for a small document; a body that breaks off counts as a try, too. */
export function sendAndRead(
  request: Request,
  limit: number,
  settings: HttpSettings,
): Promise<{ status: number; headers: Headers; body: Uint8Array }> {
  return exchange(request, settings, async ({ status, headers, read }) => ({
    status,
    headers,
    body: await read(limit),
  }));
}

/** Waits, unless the signal fires first. @throws The signal's reason. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Milliseconds that `Retry-After` asks for, in seconds or as a date; capped. Undefined when it is absent or nonsense. */
export function parseRetryAfter(header: string | null, now: number): number | undefined {
  if (header === null) return undefined;
  const text = header.trim();
  if (/^[0-9]+$/.test(text)) return Math.min(Number(text) * 1000, RETRY_AFTER_MAX_MS);
  // Only the form that HTTP requires; Date.parse alone would take "1" for a month.
  if (!/^[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT$/.test(text)) return undefined;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.min(Math.max(date - now, 0), RETRY_AFTER_MAX_MS);
}

/** Whether a literal address is this machine's own or its link's: no place for a stranger's redirect to send us to. */
export function isLocalLiteral(host: string): boolean {
  const name = host.toLowerCase().replace(/^\[|\]$/g, "");
  if (name === "localhost" || name.endsWith(".localhost")) return true;
  // The URL parser has already turned 0x7f.1, 2130706433 and the like into four decimal numbers.
  if (/^(?:127|0)\.[0-9]+\.[0-9]+\.[0-9]+$/.test(name) || /^169\.254\./.test(name)) return true;
  return name === "::" || name === "::1" || /^fe[89ab][0-9a-f]:/.test(name) || /^::ffff:/.test(name);
}

/** Private networks of RFC 1918, RFC 6598 and RFC 4193. */
export function isPrivateLiteral(host: string): boolean {
  const name = host.toLowerCase().replace(/^\[|\]$/g, "");
  if (
    /^(?:10\.|192\.168\.|172\.(?:1[6-9]|2[0-9]|3[01])\.|100\.(?:6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.)/.test(name)
  ) {
    return /^[0-9.]+$/.test(name);
  }
  return /^f[cd][0-9a-f]{2}:/.test(name);
}

async function exchange<T>(
  request: Request,
  settings: HttpSettings,
  consume: (answer: Answer) => T | Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    settings.signal?.throwIfAborted();
    const last = attempt >= settings.tries;
    let waitMs: number | undefined;
    try {
      const answer = await follow(request, settings);
      if (last || !RETRY_STATUS.has(answer.status)) return await consume(answer);
      answer.discard();
      waitMs = parseRetryAfter(answer.headers.get("retry-after"), Date.now());
    } catch (error) {
      settings.signal?.throwIfAborted();
      if (last || !isPassing(error)) throw error;
    }
    await sleep(waitMs ?? backOffMs(settings, attempt), settings.signal);
  }
}

/** Whether a failure may be gone on the next try. */
export function isPassing(error: unknown): boolean {
  return error instanceof BoxError && error.code === "registry-unreachable";
}

/** Doubles with every attempt, 30 s at most, ± 25 %. */
export function backOffMs(settings: HttpSettings, attempt: number): number {
  return Math.min(settings.retryMs * 2 ** (attempt - 1), 30_000) * (0.75 + Math.random() / 2);
}

async function follow(request: Request, settings: HttpSettings): Promise<Answer> {
  let { url, authorization } = request;
  for (let hop = 0; hop <= REDIRECTS; hop++) {
    checkScheme(url);
    const headers = { ...request.headers, ...(authorization !== undefined && { Authorization: authorization }) };
    const answer = await once({ ...request, url, headers }, settings);
    const location = REDIRECT_STATUS.has(answer.status) ? answer.headers.get("location") : null;
    if (location === null) return answer;
    answer.discard();
    if (!mayFollow(request.method ?? "GET", answer.status)) {
      throw new BoxError(
        "registry-redirect",
        `Cannot follow the redirect of ${quote(url.host)}: it would turn ${request.method} into something else`,
      );
    }
    url = resolveLocation(url, location, request.url);
    if (url.origin === request.url.origin) continue;
    // For good: a redirect back from elsewhere is still a stranger's wish.
    authorization = undefined;
    if (request.isSecret === true) {
      throw new BoxError(
        "registry-redirect",
        `Cannot follow the redirect of ${quote(request.url.host)}: what was sent is for itself alone`,
      );
    }
  }
  throw new BoxError(
    "registry-redirect",
    `Cannot reach ${quote(request.url.host)}: it redirects more than ${REDIRECTS} times`,
  );
}

/** 301 to 303 make a GET of what wrote something; only 307 and 308 keep the request as it is. */
function mayFollow(method: Method, status: number): boolean {
  return method === "GET" || method === "HEAD" || status === 307 || status === 308;
}

/**
 * Where a `Location` header leads: an address that may be asked, though not with what belongs to another origin.
 *
 * @param from Whose answer it was.
 * @param first What we asked of our own accord: who sends us to this machine must be on it.
 * @throws {BoxError} `registry-redirect`
 */
export function resolveLocation(from: URL, location: string, first = from): URL {
  const refuse = (why: string) =>
    new BoxError("registry-redirect", `Cannot follow the redirect of ${quote(from.host)}: ${why}`);
  if (!URL.canParse(location, from.href)) throw refuse(`${quote(location)} is no address`);
  const to = new URL(location, from);
  if (to.protocol !== "http:" && to.protocol !== "https:")
    throw refuse(`${quote(to.protocol)} is neither http nor https`);
  if (from.protocol === "https:" && to.protocol === "http:") throw refuse("it leads from https to http");
  if (to.username !== "" || to.password !== "") throw refuse("the address carries a password");
  if (to.hostname !== first.hostname && isLocalLiteral(to.hostname) && !isLocalLiteral(first.hostname)) {
    throw refuse("it leads to this machine itself");
  }
  return to;
}

function checkScheme(url: URL): void {
  if (url.protocol === "http:" || url.protocol === "https:") return;
  throw new BoxError("registry-redirect", `Cannot ask ${quote(url.href)}: it is neither http nor https`);
}

async function once({ url, method = "GET", headers, body }: Request, settings: HttpSettings): Promise<Answer> {
  const controller = new AbortController();
  const stop = () => controller.abort(settings.signal?.reason);
  if (settings.signal?.aborted === true) stop();
  settings.signal?.addEventListener("abort", stop, { once: true });
  const release = () => settings.signal?.removeEventListener("abort", stop);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isAnswered = false;
  /** Begins the wait for an answer anew, with time for so many bytes to be sent. */
  const awaitAnswer = (bytes: number): void => {
    clearTimeout(timer);
    if (isAnswered) return;
    timer = setTimeout(() => controller.abort(new Error("no answer")), settings.connectMs + bytes / UPLOAD_RATE);
  };
  awaitAnswer(body instanceof Uint8Array ? body.length : 0);
  const proxy = isLocalLiteral(url.hostname) ? undefined : proxyFor(url, process.env);
  if (proxy === undefined) exemptFromProxy(url.hostname);
  let response: Response;
  try {
    response = await fetch(url.href, {
      method,
      headers: { "User-Agent": "bantubox", "Accept-Encoding": "identity", ...headers },
      redirect: "manual",
      signal: controller.signal,
      // Digests are of the bytes that were sent, and a body that inflates has no limit that means anything.
      decompress: false,
      // Said outright: NODE_TLS_REJECT_UNAUTHORIZED=0 in an environment must not turn it off.
      tls: { ...tlsOptions(settings), rejectUnauthorized: settings.verifyTls },
      ...(proxy !== undefined && { proxy }),
      ...(body !== undefined && {
        body: body instanceof Uint8Array ? body : toStream(body(), () => awaitAnswer(IN_FLIGHT)),
      }),
    });
  } catch (error) {
    release();
    settings.signal?.throwIfAborted();
    throw unreachable(url, error, settings);
  } finally {
    isAnswered = true;
    clearTimeout(timer);
  }

  async function* chunks(): AsyncGenerator<Uint8Array> {
    const reader = response.body?.getReader();
    if (reader === undefined) return release();
    let complete = false;
    try {
      for (;;) {
        const silence = setTimeout(() => controller.abort(new Error("stalled")), settings.stallMs);
        let next: Awaited<ReturnType<typeof reader.read>>;
        try {
          next = await reader.read();
        } catch (error) {
          settings.signal?.throwIfAborted();
          throw unreachable(url, error, settings);
        } finally {
          clearTimeout(silence);
        }
        if (next.done) break;
        yield next.value;
      }
      complete = true;
    } finally {
      release();
      if (!complete) controller.abort();
    }
  }

  return {
    status: response.status,
    headers: response.headers,
    chunks,
    async read(limit) {
      const parts: Uint8Array[] = [];
      let length = 0;
      for await (const chunk of chunks()) {
        length += chunk.length;
        if (length > limit) {
          throw new BoxError(
            "registry-answer-too-large",
            `Cannot read the answer of ${quote(url.host)}: it is larger than ${limit} bytes`,
          );
        }
        parts.push(chunk);
      }
      return Buffer.concat(parts);
    },
    discard() {
      release();
      controller.abort();
    },
  };
}

function tlsOptions({ certificates }: HttpSettings): { ca?: string[]; cert?: string; key?: string } {
  if (certificates === undefined) return {};
  const { ca, cert, key } = certificates;
  return {
    ...(ca !== undefined && { ca: [...ca] }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  };
}

/** fetch() takes what it is given only so fast as the other end takes it. @param onPiece Called for each piece. */
function toStream(chunks: AsyncIterable<Uint8Array>, onPiece: () => void): ReadableStream<Uint8Array> {
  const iterator = chunks[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await iterator.next();
      onPiece();
      if (done === true) controller.close();
      // A copy: sources use their buffers again, and fetch() keeps what it has not sent yet.
      else controller.enqueue(value.slice());
    },
    async cancel() {
      await iterator.return?.();
    },
  });
}

/**
 * Bun reads HTTP_PROXY itself, even for loopback, and its `proxy` option cannot say "none".
 * It reads the list of exceptions at each call.
 */
function exemptFromProxy(host: string): void {
  const { env } = process;
  const names = ["NO_PROXY", "no_proxy"].filter((name) => env[name] !== undefined);
  for (const name of names.length === 0 ? ["NO_PROXY"] : names) {
    const hosts = (env[name] ?? "").split(",").filter((entry) => entry !== "");
    if (!hosts.includes(host)) env[name] = [...hosts, host].join(",");
  }
}

function unreachable(url: URL, error: unknown, settings: HttpSettings): BoxError {
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
  const text = `${code} ${error instanceof Error ? error.message : String(error)}`;
  if (/CERT|SELF_SIGNED|SIGNATURE|ISSUER|certificate/.test(text)) {
    return new BoxError("registry-certificate", `Cannot trust ${quote(url.host)}: its certificate is not valid`, {
      cause: error,
      hint: "Install the authority's certificate on this host, or name the registry as insecure",
    });
  }
  let state = "the connection failed";
  if (/stalled/.test(text)) state = `it sent nothing for ${settings.stallMs / 1000} s`;
  else if (/no answer/.test(text)) state = `it did not answer within ${settings.connectMs / 1000} s`;
  else if (/ConnectionRefused|ECONNREFUSED|Unable to connect/.test(text)) state = "nothing answers there";
  else if (/ENOTFOUND|DNS|getaddrinfo/i.test(text)) state = "its name cannot be resolved";
  else if (/closed|reset|ECONNRESET|Terminated|truncat/i.test(text)) state = "it closed the connection early";
  return new BoxError("registry-unreachable", `Cannot reach ${quote(url.host)}: ${state}`, { cause: error });
}
