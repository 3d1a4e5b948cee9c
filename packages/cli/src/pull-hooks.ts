import type { PullHooks, PullProgress } from "@bantubox/core";
import type { ProgressView } from "./progress.ts";

/** Shows the progress of a pull, if one turns out to be needed; until then nothing of it is loaded. */
export function pullHooks(quiet: boolean): PullHooks {
  if (quiet) return {};
  let view: ProgressView | undefined;
  let early: PullProgress[] | undefined;
  return {
    onProgress(progress) {
      if (view !== undefined) return view.onProgress(progress);
      if (early !== undefined) {
        early.push(progress);
        return;
      }
      const queue = [progress];
      early = queue;
      void import("./progress.ts").then(({ showProgress }) => {
        view = showProgress();
        for (const each of queue) view.onProgress(each);
      });
    },
  };
}
