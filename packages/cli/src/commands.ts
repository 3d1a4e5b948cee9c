import type { Command } from "./command.ts";

export type Load = () => Promise<{ readonly default: Command }>;

/** Every command, in the order that the help lists them; a file is loaded when its command is used. */
export const commands: Readonly<Record<string, Load>> = {
  run: () => import("./commands/run.ts"),
  exec: () => import("./commands/exec.ts"),
  ps: () => import("./commands/ps.ts"),
  logs: () => import("./commands/logs.ts"),
  attach: () => import("./commands/attach.ts"),
  create: () => import("./commands/create.ts"),
  start: () => import("./commands/start.ts"),
  stop: () => import("./commands/stop.ts"),
  kill: () => import("./commands/kill.ts"),
  wait: () => import("./commands/wait.ts"),
  rename: () => import("./commands/rename.ts"),
  rm: () => import("./commands/rm.ts"),
  cp: () => import("./commands/cp.ts"),
  diff: () => import("./commands/diff.ts"),
  export: () => import("./commands/export.ts"),
  commit: () => import("./commands/commit.ts"),
  checkpoint: () => import("./commands/checkpoint.ts"),
  restore: () => import("./commands/restore.ts"),
  pull: () => import("./commands/pull.ts"),
  push: () => import("./commands/push.ts"),
  init: () => import("./commands/init.ts"),
  images: () => import("./commands/images.ts"),
  rmi: () => import("./commands/rmi.ts"),
  search: () => import("./commands/search.ts"),
  login: () => import("./commands/login.ts"),
  logout: () => import("./commands/logout.ts"),
  tag: () => import("./commands/tag.ts"),
  history: () => import("./commands/history.ts"),
  save: () => import("./commands/save.ts"),
  load: () => import("./commands/load.ts"),
  import: () => import("./commands/import.ts"),
  inspect: () => import("./commands/inspect.ts"),
  info: () => import("./commands/info.ts"),
  oci: () => import("./commands/oci.ts"),
  doctor: () => import("./commands/doctor.ts"),
  version: () => import("./commands/version.ts"),
};

/** What processes of ours execute, and no help lists. */
export const hidden: Readonly<Record<string, Load>> = { internal: () => import("./commands/internal.ts") };

/** Other words for the same. */
export const aliases: Readonly<Record<string, string>> = { list: "ps", ls: "ps" };

const listVolumes: Load = () => import("./commands/volume/ls.ts");
const removeVolumes: Load = () => import("./commands/volume/rm.ts");

/** Docker's long forms: which command a word means behind `container` or `image`; one of the group's own has its file here. */
export const groups: Readonly<Record<string, Readonly<Record<string, string | Load>>>> = {
  container: {
    run: "run",
    exec: "exec",
    ls: "ps",
    list: "ps",
    ps: "ps",
    logs: "logs",
    attach: "attach",
    create: "create",
    start: "start",
    stop: "stop",
    kill: "kill",
    wait: "wait",
    rename: "rename",
    rm: "rm",
    remove: "rm",
    inspect: "inspect",
    cp: "cp",
    diff: "diff",
    export: "export",
    commit: "commit",
    checkpoint: "checkpoint",
    restore: "restore",
    prune: () => import("./commands/container/prune.ts"),
  },
  manifest: { inspect: () => import("./commands/manifest/inspect.ts") },
  image: {
    ls: "images",
    list: "images",
    pull: "pull",
    push: "push",
    rm: "rmi",
    remove: "rmi",
    inspect: "inspect",
    init: "init",
    tag: "tag",
    history: "history",
    save: "save",
    load: "load",
    import: "import",
    prune: () => import("./commands/image/prune.ts"),
  },
  system: {
    check: () => import("./commands/system/check.ts"),
    df: () => import("./commands/system/df.ts"),
    prune: () => import("./commands/system/prune.ts"),
    info: "info",
  },
  volume: {
    create: () => import("./commands/volume/create.ts"),
    inspect: () => import("./commands/volume/inspect.ts"),
    ls: listVolumes,
    list: listVolumes,
    prune: () => import("./commands/volume/prune.ts"),
    rm: removeVolumes,
    remove: removeVolumes,
  },
  storage: {
    init: () => import("./commands/storage/init.ts"),
    info: () => import("./commands/storage/info.ts"),
  },
};

export const groupSummaries: Readonly<Record<string, string>> = {
  container: "The commands for containers, as Docker groups them",
  image: "The commands for images, as Docker groups them",
  manifest: "What registries say of images",
  system: "What the engine keeps on disk, and what of it nobody needs",
  volume: "Directories that outlive containers",
  storage: "How images and containers lie on disk",
};
