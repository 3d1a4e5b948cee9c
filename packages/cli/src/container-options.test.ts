import { describe, expect, test } from "bun:test";
import type { Command, ParsedFlags } from "./command.ts";
import run from "./commands/run.ts";
import { type containerFlags, containerOptions } from "./container-options.ts";
import { parse } from "./parse.ts";

function options(...args: string[]): unknown {
  const command: Command = run;
  const { flags, operands } = parse(command, args);
  return containerOptions(flags as ParsedFlags<typeof containerFlags>, operands);
}

describe("containerOptions()", () => {
  test("holds nothing that was not asked for", () => {
    expect(options("alpine")).toEqual({ image: "alpine", command: [] });
    expect(options("--rm=false", "-m", "0", "--cpus=0", "--cpu-shares=0", "--shm-size=0", "alpine")).toEqual({
      image: "alpine",
      command: [],
    });
  });

  test("holds everything that was", () => {
    const line =
      "-it --rm --name web -h host -e A=1 -w /w -u 1000:1000 --entrypoint sh --init -v /a:/b:ro --tmpfs /t --mount type=bind,src=/c,dst=/d --read-only --rootfs-rw --shm-size 1m --net none -m 64m --memory-swap -1 --memory-reservation 32m --cpus 1.5 -c 512 --cpuset-cpus 0-1 --cpuset-mems 0 --pids-limit 10 --ulimit nofile=1:2 --cap-add NET_ADMIN --cap-drop ALL --security-opt no-new-privileges --privileged -l a=b --pull never --platform linux/arm64 --stop-signal INT --stop-timeout 3 --cidfile /c/id -q image cmd -x";
    expect(options(...line.split(" "))).toEqual({
      image: "image",
      command: ["cmd", "-x"],
      name: "web",
      hostname: "host",
      interactive: true,
      tty: true,
      autoRemove: true,
      env: ["A=1"],
      workdir: "/w",
      user: "1000:1000",
      entrypoint: ["sh"],
      init: true,
      mounts: [
        { type: "bind", source: "/a", target: "/b", createSource: true, readOnly: true },
        { type: "bind", source: "/c", target: "/d" },
        { type: "tmpfs", target: "/t" },
      ],
      readOnly: true,
      rootfsRw: true,
      shmSizeBytes: 1048576,
      network: "none",
      resources: {
        memoryBytes: 67108864,
        memorySwapBytes: -1,
        memoryReservationBytes: 33554432,
        cpus: 1.5,
        cpuShares: 512,
        cpusetCpus: "0-1",
        cpusetMems: "0",
        pidsLimit: 10,
      },
      ulimits: [{ name: "nofile", soft: 1, hard: 2 }],
      capAdd: ["NET_ADMIN"],
      capDrop: ["ALL"],
      securityOpt: ["no-new-privileges"],
      privileged: true,
      labels: { a: "b" },
      pull: "never",
      platform: "linux/arm64",
      stopSignal: "INT",
      stopTimeoutSec: 3,
      cidfile: "/c/id",
    });
  });

  test("an empty entrypoint clears the image's", () => {
    expect(options("--entrypoint", "", "alpine", "ls")).toEqual({ image: "alpine", command: ["ls"], entrypoint: [] });
  });

  test("empty values are those of flags that are not there", () => {
    const words = ["name", "hostname", "workdir", "network", "cpuset-cpus", "cpuset-mems", "platform", "pull"];
    expect(options(...words.map((word) => `--${word}=`), "alpine")).toEqual({
      image: "alpine",
      command: [],
      pull: "missing",
    });
  });

  test("a relative cidfile is below the caller's directory", () => {
    expect(options("--cidfile", "id", "alpine")).toMatchObject({ cidfile: `${process.cwd()}/id` });
  });

  test.each([
    [["--memory-swap=1g", "a"], "Cannot limit swap: --memory-swap needs --memory"],
    [["-m", "1g", "--memory-swap=1m", "a"], "Cannot limit swap: --memory-swap is below --memory"],
    [["-v", "/a:/t", "--tmpfs", "//t/", "a"], 'Cannot mount on "/t": two mounts go there'],
    [["--pull=sometimes", "a"], 'Cannot use "sometimes" for --pull: it is neither missing, always nor never'],
    [["--cidfile=", "a"], "Cannot write the container's ID: the name of --cidfile is empty"],
    [[""], "Cannot run an image: its name is empty"],
  ])("refuses %j", (args, message) => expect(() => options(...args)).toThrow(message));

  test("an env-file that is not there is named", () => {
    expect(() => options("--env-file", "/nonexistent/x", "a")).toThrow('Cannot read "/nonexistent/x": ENOENT');
  });
});
