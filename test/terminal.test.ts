import { afterEach, expect, test } from "bun:test";
import { busyboxRoot, newStore, type Store, until } from "./harness.ts";

const image = await busyboxRoot();
const RUN = ["run", "-it", "--network", "none"] as const;
const CTRL_C = "\x03";
const CTRL_D = "\x04";
const CTRL_P = "\x10";
const CTRL_Q = "\x11";
const CTRL_Z = "\x1a";
/** Bits of a terminal's local flags: echo and line editing. */
const COOKED = 0o10 | 0o2;

/** A program at a terminal of its own, as a user sees it. */
interface Session {
  /** Everything that was printed. */
  text(): string;
  type(text: string): void;
  /** Waits until `pattern` was printed since the last call. */
  see(pattern: RegExp | string): Promise<void>;
  readonly terminal: Bun.Terminal;
  readonly exited: Promise<number>;
}

const open: Bun.Terminal[] = [];
afterEach(() => {
  for (const terminal of open.splice(0)) terminal.close();
});

function start(store: Store, args: readonly string[], size = { cols: 90, rows: 33 }): Session {
  let text = "";
  let seen = 0;
  const decoder = new TextDecoder();
  const child = Bun.spawn([...store.command, ...args], {
    // Made by the spawn, a terminal controls its process: only then do ^C and sizes come as signals.
    terminal: {
      ...size,
      data(_, bytes) {
        text += decoder.decode(bytes, { stream: true });
      },
    },
  });
  const { terminal } = child;
  if (terminal === undefined) throw new Error("Bun gave no terminal");
  open.push(terminal);
  return {
    terminal,
    exited: child.exited,
    text: () => text,
    type: (typed) => void terminal.write(typed),
    async see(pattern) {
      await until(
        `${pattern} on the terminal, which shows ${JSON.stringify(text.slice(seen))}`,
        () => {
          const rest = text.slice(seen);
          const at = typeof pattern === "string" ? rest.indexOf(pattern) : rest.search(pattern);
          if (at < 0) return false;
          seen += at + (typeof pattern === "string" ? pattern.length : (rest.match(pattern)?.[0].length ?? 0));
          return true;
        },
        30_000,
      );
    },
  };
}

test("a shell at a terminal: echo, the container's own terminal, and its status", async () => {
  await using store = await newStore();
  const shell = start(store, [...RUN, "--rm", image, "sh"]);
  await shell.see("# ");
  shell.type("tty; ls -l /dev/console\n");
  await shell.see("tty; ls -l /dev/console\r\n");
  await shell.see("/dev/pts/0\r\n");
  await shell.see(/crw.* \/dev\/console\r\n/);
  shell.type("echo $TERM; stty size\n");
  await shell.see("xterm\r\n");
  await shell.see("33 90\r\n");
  shell.type("exit 29\n");
  expect(await shell.exited).toBe(29);
  expect(shell.terminal.localFlags & COOKED).toBe(COOKED);
});

test("the terminal is raw while the container has it, and as before afterwards", async () => {
  await using store = await newStore();
  const shell = start(store, [...RUN, "--rm", image, "sh"]);
  const before = shell.terminal.localFlags;
  expect(before & COOKED).toBe(COOKED);
  await shell.see("# ");
  expect(shell.terminal.localFlags & COOKED).toBe(0);
  shell.type(CTRL_D);
  expect(await shell.exited).toBe(0);
  expect(shell.terminal.localFlags).toBe(before);
});

test("job control: ^C ends what runs in the foreground, ^Z stops it, fg goes on with it", async () => {
  await using store = await newStore();
  const shell = start(store, [...RUN, "--rm", image, "sh"]);
  await shell.see("# ");
  expect(shell.text()).not.toContain("job control");
  shell.type("sh -c 'echo up 1; sleep 500'\n");
  await shell.see("up 1\r\n");
  shell.type(CTRL_C);
  // What was typed before the signal came is thrown away with it.
  await shell.see("# ");
  shell.type("echo status=$?\n");
  await shell.see("status=130");
  shell.type("sh -c 'echo up 2; sleep 400; echo over'\n");
  await shell.see("up 2\r\n");
  shell.type(CTRL_Z);
  await shell.see("Stopped");
  shell.type("jobs\n");
  await shell.see(/\[1\].*Stopped/);
  shell.type("fg\n");
  await until("it goes on", async () => (await sleepers(store)) === "S");
  shell.type(CTRL_C);
  await until("it has ended", async () => (await sleepers(store)) === "");
  shell.type("echo still $((40 + 2))\n");
  await shell.see("still 42");
  shell.type("exit\n");
  // As any shell: the status of its last command.
  expect(await shell.exited).toBe(0);
});

/** States of the sleeping commands in the only container. */
async function sleepers(store: Store): Promise<string> {
  const script = "for p in /proc/[0-9]*; do grep -q ^sleep$ $p/comm && awk '{print $3}' $p/stat; done";
  return (await store.bb(["exec", await store.ok(["ps", "-q"]), "sh", "-c", script])).stdout.trim();
}

test("--init gives the command the terminal's foreground", async () => {
  await using store = await newStore();
  const shell = start(store, [
    ...RUN,
    "--rm",
    "--init",
    image,
    "sh",
    "-c",
    "trap 'exit 44' INT; echo up; while :; do sleep 0.05; done",
  ]);
  await shell.see("up");
  shell.type(CTRL_C);
  expect(await shell.exited).toBe(44);
});

test("a terminal that changes its size tells the container (SIGWINCH)", async () => {
  await using store = await newStore();
  const shell = start(store, [
    ...RUN,
    "--rm",
    image,
    "sh",
    "-c",
    "trap 'stty size' WINCH; echo up; while :; do sleep 0.05; done",
  ]);
  await shell.see("up");
  shell.terminal.resize(120, 50);
  await shell.see("50 120");
  shell.terminal.resize(71, 19);
  await shell.see("19 71");
  await store.ok(["kill", ...(await store.ok(["ps", "-q"])).split("\n")]);
  expect(await shell.exited).toBe(137);
});

test("detach keys leave the container running, and attach comes back to it", async () => {
  await using store = await newStore();
  const first = start(store, [...RUN, "--name", "shell", image, "sh"]);
  await first.see("# ");
  first.type("kept=here\n");
  await first.see("# ");
  first.type(`${CTRL_P}${CTRL_Q}`);
  expect(await first.exited).toBe(0);
  expect(first.terminal.localFlags & COOKED).toBe(COOKED);
  expect(await store.ok(["ps", "--format", "{{.Names}} {{.State}}"])).toBe("shell running");

  const second = start(store, ["attach", "shell"], { cols: 60, rows: 20 });
  second.type("echo is $kept; stty size\n");
  await second.see("is here\r\n");
  await second.see("20 60\r\n");
  second.type("exit 12\n");
  expect(await second.exited).toBe(12);
  expect(second.terminal.localFlags & COOKED).toBe(COOKED);
});

test("other detach keys, and keys that only begin like them", async () => {
  await using store = await newStore();
  const shell = start(store, [...RUN, "--name", "shell", "--detach-keys", "ctrl-a,x", image, "cat", "-v"]);
  await until("it runs", async () => (await store.ok(["ps", "-q"])) !== "");
  await until("the terminal is raw", () => (shell.terminal.localFlags & COOKED) === 0);
  shell.type("\x01y\x01\x01z\n");
  await shell.see("^Ay^A^Az\r\n");
  shell.type("\x01x");
  expect(await shell.exited).toBe(0);
  expect(await store.ok(["ps", "--format", "{{.Names}}"])).toBe("shell");
});

test("exec -it has a terminal of its own, with size, job control and status", async () => {
  await using store = await newStore();
  await store.ok(["run", "-d", "--name", "box", "--network", "none", image, "sleep", "600"]);
  const shell = start(store, ["exec", "-it", "box", "sh"]);
  await shell.see("# ");
  shell.type("tty; stty size; ls -l /dev/console\n");
  await shell.see("/dev/pts/0\r\n");
  await shell.see("33 90\r\n");
  shell.terminal.resize(77, 22);
  shell.type("sh -c 'echo up; sleep 500'\n");
  await shell.see("up\r\n");
  shell.type(CTRL_C);
  await shell.see("# ");
  shell.type("stty size\n");
  await shell.see("22 77\r\n");
  shell.type("exit 31\n");
  expect(await shell.exited).toBe(31);
  expect(shell.terminal.localFlags & COOKED).toBe(COOKED);
});

test("the terminal is as before when the command was never found", async () => {
  await using store = await newStore();
  const shell = start(store, [...RUN, "--rm", image, "/no/such"]);
  expect(await shell.exited).toBe(127);
  await shell.see('Cannot run "/no/such"');
  expect(shell.terminal.localFlags & COOKED).toBe(COOKED);
});

test("a terminal that hangs up ends the client, not the container", async () => {
  await using store = await newStore();
  const shell = start(store, [
    ...RUN,
    "--name",
    "shell",
    image,
    "sh",
    "-c",
    "trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done",
  ]);
  await shell.see("up");
  shell.terminal.close();
  expect(await shell.exited).toBe(129);
  expect(await store.ok(["ps", "--format", "{{.Names}}"])).toBe("shell");
});

test("a container with a terminal and nobody at it logs what it prints", async () => {
  await using store = await newStore();
  await store.ok([
    "run",
    "-dt",
    "--name",
    "alone",
    "--network",
    "none",
    image,
    "sh",
    "-c",
    "tty; echo to-err >&2; exit 3",
  ]);
  expect(await store.ok(["wait", "alone"])).toBe("3");
  expect(await store.bb(["logs", "alone"])).toEqual({ code: 0, stdout: "/dev/pts/0\r\nto-err\r\n", stderr: "" });
});
