/** What is said to CRIU's service and heard from it: protocol buffers, of images/rpc.proto. */

/** Numbers of criu_opts' fields. */
const FIELD = {
  imagesFd: 1,
  pid: 2,
  leaveRunning: 3,
  extUnixSk: 4,
  tcpEstablished: 5,
  evasiveDevices: 6,
  shellJob: 7,
  fileLocks: 8,
  logLevel: 9,
  logFile: 10,
  pageServer: 11,
  notifyScripts: 12,
  root: 13,
  parentImage: 14,
  trackMem: 15,
  autoDedup: 16,
  workFd: 17,
  mounts: 23,
  manageCgroups: 24,
  cgroupRoots: 25,
  restoreSibling: 26,
  inherited: 27,
  cgroupsMode: 34,
  external: 37,
  emptyNamespaces: 38,
  joined: 39,
  freezeCgroup: 44,
  lazyPages: 48,
  statusFd: 49,
  orphanTerminals: 50,
  configFile: 51,
  lsmProfile: 53,
  lsmMountContext: 63,
  networkLock: 64,
} as const;

/** Fields of which there may be several: an array is one value each, not one message. */
const REPEATED: ReadonlySet<number> = new Set([
  FIELD.mounts,
  FIELD.cgroupRoots,
  FIELD.inherited,
  FIELD.external,
  FIELD.joined,
]);

/** A message whose fields are numbered from 1, such as ext_mount_map. */
type Tuple = readonly (string | number | undefined)[];
type Value = boolean | number | string | Tuple | readonly string[] | readonly Tuple[] | undefined;

/** criu_opts; what is absent is CRIU's default. Descriptors are the caller's own, but for those of `inherited`. */
export interface CriuOptions {
  readonly imagesFd: number;
  readonly workFd?: number | undefined;
  /** The first process of what is dumped. */
  readonly pid?: number;
  readonly leaveRunning?: boolean;
  readonly extUnixSk?: boolean;
  readonly tcpEstablished?: boolean;
  readonly evasiveDevices?: boolean;
  readonly shellJob?: boolean;
  readonly fileLocks?: boolean;
  readonly logLevel?: number;
  readonly logFile?: string;
  /** [address, port] */
  readonly pageServer?: Tuple | undefined;
  readonly notifyScripts?: boolean;
  readonly root?: string;
  readonly parentImage?: string | undefined;
  readonly trackMem?: boolean;
  readonly autoDedup?: boolean;
  /** [mount point, name] of a dump, [name, path of the host] of a restore. */
  readonly mounts?: readonly Tuple[];
  readonly manageCgroups?: boolean;
  /** [controller, or nothing for all, path] */
  readonly cgroupRoots?: readonly Tuple[];
  /** The first process becomes a child of whoever started CRIU. */
  readonly restoreSibling?: boolean;
  /** [what it was, number in CRIU's process] */
  readonly inherited?: readonly Tuple[];
  readonly cgroupsMode?: number | undefined;
  readonly external?: readonly string[];
  /** CLONE_* of namespaces whose content is somebody else's business. */
  readonly emptyNamespaces?: number;
  /** [type, path] */
  readonly joined?: readonly Tuple[];
  readonly freezeCgroup?: string | undefined;
  readonly lazyPages?: boolean;
  readonly statusFd?: number | undefined;
  /** A terminal whose master is outside is passed on when it is restored. */
  readonly orphanTerminals?: boolean;
  readonly configFile?: string | undefined;
  readonly lsmProfile?: string | undefined;
  readonly lsmMountContext?: string | undefined;
  readonly networkLock?: number | undefined;
}

/** enum criu_req_type */
export const REQUEST = { DUMP: 1, RESTORE: 2, PRE_DUMP: 4, NOTIFY: 6 } as const;

/** enum criu_cg_mode, by the names of --manage-cgroups-mode. */
export const CGROUPS_MODE: Readonly<Record<string, number>> = { soft: 3, full: 4, strict: 5 };

/** criu_req */
export function encodeRequest(type: number, options: CriuOptions): Uint8Array {
  const fields = Object.entries(FIELD).flatMap(([name, number]) =>
    encodeField(number, options[name as keyof CriuOptions] as Value),
  );
  return Uint8Array.from([...encodeField(1, type), ...withLength(2, fields)]);
}

/** criu_req: the notification was dealt with, or could not be. */
export function encodeAnswer(isDone: boolean): Uint8Array {
  return Uint8Array.from([...encodeField(1, REQUEST.NOTIFY), 0x18, isDone ? 1 : 0]);
}

function encodeField(number: number, value: Value): number[] {
  if (value === undefined || value === false) return [];
  if (value === true) return [...varint(number << 3), 1];
  if (typeof value === "number") return [...varint(number << 3), ...varint(value)];
  if (typeof value === "string") return withLength(number, new TextEncoder().encode(value));
  if (REPEATED.has(number)) return (value as readonly (string | Tuple)[]).flatMap((each) => encodeOne(number, each));
  return encodeOne(number, value as Tuple);
}

function encodeOne(number: number, value: string | Tuple): number[] {
  if (typeof value === "string") return encodeField(number, value);
  return withLength(
    number,
    value.flatMap((each, i) => encodeField(i + 1, each)),
  );
}

function withLength(number: number, bytes: Iterable<number> & { readonly length: number }): number[] {
  return [...varint((number << 3) | 2), ...varint(bytes.length), ...bytes];
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 0x80);
  }
}

/** criu_resp, as far as it is looked at. */
export interface CriuResponse {
  readonly type: number;
  readonly isDone: boolean;
  /** Of a notification. */
  readonly script: string;
  readonly errno: number;
}

export function parseResponse(bytes: Uint8Array): CriuResponse {
  const fields = parseFields(bytes);
  const notify = fields.get(5);
  const script = notify instanceof Uint8Array ? parseFields(notify).get(1) : undefined;
  return {
    type: Number(fields.get(1) ?? 0),
    isDone: fields.get(2) === 1,
    script: script instanceof Uint8Array ? new TextDecoder().decode(script) : "",
    errno: Number(fields.get(7) ?? 0),
  };
}

/** The last value of each field: a number, or the bytes of what has a length. */
function parseFields(bytes: Uint8Array): Map<number, number | Uint8Array> {
  const fields = new Map<number, number | Uint8Array>();
  let at = 0;
  const next = (): number => {
    let value = 0;
    for (let factor = 1; at < bytes.length; factor *= 128) {
      const byte = bytes[at++] as number;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) break;
    }
    return value;
  };
  while (at < bytes.length) {
    const key = next();
    const value = next();
    if ((key & 7) === 0) fields.set(key >>> 3, value);
    else if ((key & 7) === 2) {
      fields.set(key >>> 3, bytes.subarray(at, at + value));
      at += value;
    } else break;
  }
  return fields;
}
