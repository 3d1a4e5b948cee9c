import { interceptReads, type Stat } from "./fs.ts";
import type { Fact } from "./line.ts";

/**
 * What is read of the host while something is made, as facts: who compares them
 * knows whether it would come out the same again. All that is read through
 * fs.ts is seen; what is read otherwise is not.
 */
export class Recording {
  readonly #facts = new Map<string, Fact>();
  readonly #texts = new Map<string, string | undefined>();
  readonly #stats = new Map<string, Stat | undefined>();

  /** From now on; nothing else of this process may read meanwhile. */
  start(): void {
    interceptReads({
      text: (path, detail, real) => {
        const value = real();
        const key = `${path}\0${detail}`;
        this.#texts.set(key, value);
        this.#facts.set(`text\0${key}`, { kind: "text", path, detail, value: value ?? "" });
        return value;
      },
      stat: (path, real) => {
        const stat = real();
        this.#stats.set(path, stat);
        const value = stat === undefined ? "" : `${stat.type | stat.mode} ${stat.uid} `;
        this.#facts.set(`node\0${path}`, { kind: "node", path, detail: "pu", value });
        return stat;
      },
    });
  }

  /** Ends what `start` or `replay` began. */
  stop(): void {
    interceptReads(undefined);
  }

  get facts(): readonly Fact[] {
    return [...this.#facts.values()];
  }

  /**
   * Gives what was read once more, for paths that are called otherwise now.
   *
   * @param former What a path was called when it was read.
   * @throws {Error} For something that was not read.
   */
  replay(former: (path: string) => string): void {
    interceptReads({
      text: (path, detail) => known(this.#texts, `${former(path)}\0${detail}`),
      stat: (path) => known(this.#stats, former(path)),
    });
  }
}

function known<T>(map: ReadonlyMap<string, T>, key: string): T {
  if (!map.has(key)) throw new Error(`It was not read before: ${key}`);
  return map.get(key) as T;
}
