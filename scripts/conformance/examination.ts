import type { Case } from "./report.ts";

/** One run of a suite: where it lies, whom it examines. */
export interface Examination {
  /** The suite's checkout, absolute. */
  readonly checkout: string;
  /** The runtime's executable, absolute. */
  readonly runtime: string;
  /** Only files, programs or cases whose name contains one of these; all if there are none. */
  readonly only: readonly string[];
  /** An empty directory; its owner removes it. */
  readonly scratch: string;
  /** Called with each case as it ends. */
  readonly onCase: (result: Case) => void;
}
