import type { LogEntry } from "./logs.ts";

const decoder = new TextDecoder();
const NEWLINE = 10;
const SPACE = 32;

/**
 * Reads one line of a log, its newline taken off: `time stream F|P text`, the CRI's format.
 *
 * @returns Undefined for anything else, such as a record that a power cut has torn.
 * @see https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
 */
export function parseLogRecord(line: Uint8Array): LogEntry | undefined {
  const first = line.indexOf(SPACE);
  const second = line.indexOf(SPACE, first + 1);
  if (first < 1 || second === -1 || line[second + 2] !== SPACE) return undefined;
  const stream = decoder.decode(line.subarray(first + 1, second));
  const isFull = line[second + 1] === 70;
  if ((stream !== "stdout" && stream !== "stderr") || !(isFull || line[second + 1] === 80)) return undefined;
  const start = second + 3;
  const text = new Uint8Array(line.length - start + (isFull ? 1 : 0));
  text.set(line.subarray(start));
  if (isFull) text[text.length - 1] = NEWLINE;
  return { stream, time: decoder.decode(line.subarray(0, first)), text };
}
