/** Trees of files, whoever they belong to and whatever that does meanwhile: for what looks into containers. */
export { archiveMerged } from "./archive-merged.ts";
export { type CommitOptions, commitContainer } from "./commit-container.ts";
export { findPlaceholders } from "./placeholders.ts";
export { openBelow } from "./resolve.ts";
export { Transfer, type TransferOptions } from "./transfer.ts";
export { display, openDirectory, readLink, S, type Stat, statIfThereAt } from "./tree.ts";
export { treeChanges } from "./tree-changes.ts";
export { treeSize } from "./tree-size.ts";
export { unpack } from "./unpack.ts";
export { type Change, type Passed, upperChanges } from "./upper-changes.ts";
