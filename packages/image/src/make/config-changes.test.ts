// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a Dockerfile writes variables so
import { expect, test } from "bun:test";
import { HOST_IMAGE, type RunConfig } from "../store/store.ts";
import { applyChanges } from "./config-changes.ts";

const before: RunConfig = {
  ...HOST_IMAGE.config,
  cmd: ["old"],
  entrypoint: [],
  env: ["PATH=/bin", "A=1"],
  workdir: "/srv",
  labels: [["keep", "x"]],
};

test.each<[string, string[], Partial<RunConfig>]>([
  ["CMD takes a JSON list", ['CMD ["a", "b c"]'], { cmd: ["a", "b c"] }],
  ["CMD takes a line for the shell", ["CMD echo $A 'x y'"], { cmd: ["/bin/sh", "-c", "echo $A 'x y'"] }],
  ["what only looks like a list is a line", ["CMD [ -f /x ]"], { cmd: ["/bin/sh", "-c", "[ -f /x ]"] }],
  ["instructions may be written small", ['cmd ["a"]'], { cmd: ["a"] }],
  ["ENTRYPOINT takes the old CMD away", ['ENTRYPOINT ["e"]'], { entrypoint: ["e"], cmd: [] }],
  ["but not one that was set before it", ['CMD ["c"]', 'ENTRYPOINT ["e"]'], { entrypoint: ["e"], cmd: ["c"] }],
  ["nor one after it", ['ENTRYPOINT ["e"]', 'CMD ["c"]'], { entrypoint: ["e"], cmd: ["c"] }],
  [
    "SHELL is what lines are for",
    ['SHELL ["/bin/ash", "-ec"]', "CMD x"],
    { shell: ["/bin/ash", "-ec"], cmd: ["/bin/ash", "-ec", "x"] },
  ],
  ["ENV sets and replaces", ['ENV B="x y" A=2'], { env: ["PATH=/bin", "A=2", "B=x y"] }],
  ["ENV knows variables", ["ENV PATH=/opt/bin:$PATH"], { env: ["PATH=/opt/bin:/bin", "A=1"] }],
  ["ENV sees those of earlier changes only", ["ENV A=2 B=$A", "ENV C=$A"], { env: ["PATH=/bin", "A=2", "B=1", "C=2"] }],
  [
    "defaults, alternatives and what is not set",
    ["ENV B=${Z:-d}-${A:+set}-${Z:+no}-$Z."],
    { env: ["PATH=/bin", "A=1", "B=d-set--."] },
  ],
  [
    "single quotes and backslashes keep the dollar",
    ["ENV B='$A' C=\\$A D=\"\\$A\""],
    { env: ["PATH=/bin", "A=1", "B=$A", "C=$A", "D=$A"] },
  ],
  ["ENV's old form takes the whole line", ["ENV B a   b"], { env: ["PATH=/bin", "A=1", "B=a   b"] }],
  [
    "LABEL keeps others",
    ['LABEL a.b="c d" __proto__=x'],
    {
      labels: [
        ["keep", "x"],
        ["a.b", "c d"],
        ["__proto__", "x"],
      ],
    },
  ],
  [
    "EXPOSE knows protocols and ranges",
    ["EXPOSE 80 53/udp 90-92 80/tcp"],
    { exposedPorts: ["80/tcp", "53/udp", "90/tcp", "91/tcp", "92/tcp"] },
  ],
  ["VOLUME takes words", ["VOLUME /a /b"], { volumes: ["/a", "/b"] }],
  ["VOLUME takes a list", ['VOLUME ["/a b"]'], { volumes: ["/a b"] }],
  ["WORKDIR is relative to the last one", ["WORKDIR x", "WORKDIR ../y/"], { workdir: "/srv/y" }],
  ["USER and STOPSIGNAL", ["USER 1000:$A", "STOPSIGNAL SIGRTMIN+3"], { user: "1000:1", stopSignal: "SIGRTMIN+3" }],
  ["ONBUILD adds", ["ONBUILD RUN x", "ONBUILD COPY . /"], { onBuild: ["RUN x", "COPY . /"] }],
  [
    "HEALTHCHECK with its times",
    ["HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD curl -f http://localhost"],
    {
      healthcheck: {
        test: ["CMD-SHELL", "curl -f http://localhost"],
        intervalNs: 90e9,
        timeoutNs: 5e8,
        startPeriodNs: 0,
        startIntervalNs: 0,
        retries: 3,
      },
    },
  ],
  [
    "HEALTHCHECK NONE",
    ["HEALTHCHECK NONE"],
    { healthcheck: { test: ["NONE"], intervalNs: 0, timeoutNs: 0, startPeriodNs: 0, startIntervalNs: 0, retries: 0 } },
  ],
  [
    "several lines, comments and continued lines",
    ["# why\nUSER a\nENV B=1 \\\n  C=2"],
    { user: "a", env: ["PATH=/bin", "A=1", "B=1", "C=2"] },
  ],
])("applyChanges(): %s", (_, changes, expected) => {
  expect(applyChanges(before, changes)).toEqual({ ...before, ...expected });
});

test.each([
  ["an unknown instruction", "RUN rm -rf /"],
  ["what every object has", "constructor x"],
  ["nothing behind it", "CMD"],
  ["an open quote", 'ENV A="x'],
  ["an open brace", "ENV A=${B"],
  ["a name without value", "ENV A=1 B"],
  ["an empty name", "LABEL =x"],
  ["no port", "EXPOSE http"],
  ["port 0", "EXPOSE 0"],
  ["a range the wrong way round", "EXPOSE 9-1"],
  ["no signal", "STOPSIGNAL rm"],
  ["an empty volume", 'VOLUME [""]'],
  ["no list", "SHELL /bin/sh"],
  ["a health check of nothing", "HEALTHCHECK CMD"],
  ["a flag of another instruction", "HEALTHCHECK --x=1 CMD true"],
  ["nested ONBUILD", "ONBUILD ONBUILD RUN x"],
  ["a NUL", "USER a\0b"],
])("applyChanges() refuses %s", (_, change) => {
  expect(() => applyChanges(before, [change])).toThrow(expect.objectContaining({ code: "change-invalid" }));
});

test("applyChanges() leaves what it was given as it was", () => {
  const copy = structuredClone(before);
  applyChanges(before, ["ENV A=9", "LABEL keep=y", "EXPOSE 1", "VOLUME /v"]);
  expect(before).toEqual(copy);
});
