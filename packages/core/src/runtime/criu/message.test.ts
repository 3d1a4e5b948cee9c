import { expect, test } from "bun:test";
import { encodeAnswer, encodeRequest, parseResponse, REQUEST } from "./message.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** As protoc encodes it: criu_req { type: RESTORE opts { … } }, fields in the order of their numbers. */
test("a request is what protocol buffers have it to be", () => {
  const request = encodeRequest(REQUEST.RESTORE, {
    imagesFd: 300,
    leaveRunning: true,
    fileLocks: false,
    logFile: "a",
    mounts: [
      ["/x", "y"],
      ["/z", ""],
    ],
    cgroupRoots: [[undefined, "/g"]],
    inherited: [["pipe:[1]", 112]],
    external: ["net[4026531840]:k"],
    emptyNamespaces: 0x40000000,
  });
  const options = [
    ["08ac02"],
    ["1801"],
    ["520161"],
    ["ba0107", "0a022f78", "120179"],
    ["ba0106", "0a022f7a", "1200"],
    ["ca0104", "12022f67"],
    ["da010c", "0a08706970653a5b315d", "1070"],
    ["aa0211", "6e65745b343032363533313834305d3a6b"],
    ["b0028080808004"],
  ]
    .flat()
    .join("");
  expect(hex(request)).toBe(`080212${(options.length / 2).toString(16)}${options}`);
});

test("a notification is answered by whether it was dealt with", () => {
  expect(hex(encodeAnswer(true))).toBe("08061801");
  expect(hex(encodeAnswer(false))).toBe("08061800");
});

test("a response is read, whatever else is in it", () => {
  // type NOTIFY, success, notify { script "post-dump", pid 4711 }, cr_errno 13
  const text = Buffer.from("post-dump").toString("hex");
  const notify = `0a09${text}10e724`;
  const bytes = Buffer.from(`08061001${"2a0e"}${notify}380d4a03616263`, "hex");
  expect(parseResponse(bytes)).toEqual({ type: REQUEST.NOTIFY, isDone: true, script: "post-dump", errno: 13 });
  expect(parseResponse(new Uint8Array())).toEqual({ type: 0, isDone: false, script: "", errno: 0 });
  // Cut off in the middle of everything: nothing is made up, and it ends.
  for (let length = 0; length < bytes.length; length++)
    expect(parseResponse(bytes.subarray(0, length)).type).toBeLessThanOrEqual(6);
});
