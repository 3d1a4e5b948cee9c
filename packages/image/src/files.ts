/** Trees of files, whoever they belong to and whatever that does meanwhile: for what looks into containers. */

export { extractLayer } from "./layer/layer.ts";
export { type CommitOptions, commitContainer } from "./make/commit-container.ts";
export { Transfer, type TransferOptions } from "./transfer/transfer.ts";
export { archiveTree } from "./tree/archive.ts";
export { archiveMerged } from "./tree/archive-merged.ts";
export { findPlaceholders } from "./tree/placeholders.ts";
export { openBelow } from "./tree/resolve.ts";
export { display, openDirectory, readLink, S, type Stat, statIfThereAt } from "./tree/tree.ts";
export { treeChanges } from "./tree/tree-changes.ts";
export { treeSize } from "./tree/tree-size.ts";
export { unpack } from "./tree/unpack.ts";
export { type Change, type Passed, upperChanges } from "./tree/upper-changes.ts";
