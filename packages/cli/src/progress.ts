import type { PullProgress, PushProgress, SaveProgress } from "@bantubox/core";
import { type Paint, painter } from "./color.ts";
import { formatSize, shortId } from "./format.ts";
import { writeOut } from "./output.ts";

/** At most this often is a terminal drawn anew. */
const REDRAW_MS = 80;
/** Speed is that of the last moments, not of the whole. */
const SPEED_WINDOW_MS = 3000;
const BAR_WIDTH = 24;

interface Sample {
  readonly atMs: number;
  readonly bytes: number;
}

type Progress = PullProgress | PushProgress | SaveProgress;
type Phase = Progress["phase"];

interface Layer {
  phase: Phase;
  current: number;
  total: number;
  readonly samples: Sample[];
}

/** Shows what a pull, a push, a load or a save is doing until it is closed. */
export interface ProgressView {
  readonly onProgress: (progress: Progress) => void;
  [Symbol.dispose](): void;
}

const WORDS: Readonly<Record<Phase, string>> = {
  waiting: "waiting for another pull",
  downloading: "downloading",
  extracting: "extracting",
  done: "done",
  exists: "already here",
  queued: "waiting",
  preparing: "preparing",
  pushing: "pushing",
  pushed: "pushed",
  present: "already there",
  mounted: "already there, in another repository",
  saving: "saving",
  saved: "saved",
};
/** During these, there are bytes to count. */
const MOVING: ReadonlySet<Phase> = new Set<Phase>(["downloading", "extracting", "preparing", "pushing", "saving"]);
const OVER: ReadonlySet<Phase> = new Set<Phase>(["done", "exists", "pushed", "present", "mounted", "saved"]);

/** On a terminal one bar a layer, elsewhere one line for each step of a layer. */
export function showProgress(): ProgressView {
  return process.stderr.isTTY ? bars() : lines((text) => writeOut(text, 2));
}

/** One line when a layer starts and one when it is done. */
export function lines(write: (text: string) => void): ProgressView {
  const phases = new Map<string, Phase>();
  return {
    onProgress({ layer, phase, total }) {
      if (phases.get(layer) === phase) return;
      phases.set(layer, phase);
      write(`${shortId(layer)}: ${WORDS[phase]} (${formatSize(total)})\n`);
    },
    [Symbol.dispose]() {},
  };
}

function bars(): ProgressView {
  const layers = new Map<string, Layer>();
  const paint = painter(2);
  let drawn = 0;
  let drawnMs = 0;
  const draw = (nowMs: number): void => {
    const columns = process.stderr.columns || 80;
    // More lines than the terminal has cannot be drawn over again: the unfinished ones come first then.
    const room = Math.max(1, (process.stderr.rows || 24) - 1);
    const shown = [...layers];
    if (shown.length > room) shown.sort(([, a], [, b]) => Number(isOver(a.phase)) - Number(isOver(b.phase)));
    let text = drawn === 0 ? "" : `\x1b[${drawn}A`;
    for (const [digest, layer] of shown.slice(0, room))
      text += `\r\x1b[K${formatLayer(digest, layer, { nowMs, columns, paint })}\n`;
    writeOut(text, 2);
    drawn = Math.min(shown.length, room);
    drawnMs = nowMs;
  };
  return {
    onProgress({ layer: digest, phase, current, total }) {
      const nowMs = performance.now();
      const known = layers.get(digest);
      const layer = known ?? { phase, current, total, samples: [] };
      if (known === undefined) layers.set(digest, layer);
      const changed = known === undefined || layer.phase !== phase;
      if (changed) layer.samples.length = 0;
      layer.phase = phase;
      layer.current = current;
      layer.total = total;
      addSample(layer, nowMs);
      if (changed || nowMs - drawnMs >= REDRAW_MS) draw(nowMs);
    },
    [Symbol.dispose]() {
      if (drawn > 0) draw(performance.now());
    },
  };
}

export interface View {
  readonly nowMs: number;
  readonly columns: number;
  readonly paint: Paint;
}

/** One layer's line, no wider than the terminal. */
export function formatLayer(digest: string, layer: Layer, { nowMs, columns, paint }: View): string {
  const id = shortId(digest);
  const total = formatSize(layer.total);
  if (!MOVING.has(layer.phase)) {
    return `${paint("sage", id)}  ${WORDS[layer.phase]}${isOver(layer.phase) ? ` ${total}` : ""}`;
  }
  const done = layer.total > 0 ? Math.min(1, layer.current / layer.total) : 0;
  const words = `${WORDS[layer.phase].padEnd(11)} ${formatSize(layer.current)}/${total}${speed(layer, nowMs)}`;
  // The ID, and two spaces on either side of the bar; the last column stays free.
  const width = Math.min(BAR_WIDTH, columns - 17 - words.length);
  if (width < 4) return `${paint("sage", id)}  ${words.slice(0, Math.max(0, columns - 15))}`;
  const full = Math.round(done * width);
  const bar = `${paint("sage", "━".repeat(full))}${paint("pine", "─".repeat(width - full))}`;
  return `${paint("sage", id)}  ${bar}  ${words}`;
}

/** `, 12.3MB/s, 4s left`, as far as it can be known. */
function speed({ samples, current, total }: Layer, nowMs: number): string {
  const [first] = samples;
  if (first === undefined || nowMs - first.atMs < 250 || current <= first.bytes) return "";
  const perSecond = ((current - first.bytes) / (nowMs - first.atMs)) * 1000;
  const left = Math.ceil((total - current) / perSecond);
  const time = left < 60 ? `${left}s` : left < 3600 ? `${Math.floor(left / 60)}m${left % 60}s` : "over 1h";
  return `, ${formatSize(perSecond)}/s${left > 0 ? `, ${time} left` : ""}`;
}

function addSample({ samples, current }: Layer, nowMs: number): void {
  const last = samples.at(-1);
  if (last !== undefined && nowMs - last.atMs < REDRAW_MS) return;
  samples.push({ atMs: nowMs, bytes: current });
  while (samples.length > 2 && nowMs - (samples[0]?.atMs ?? nowMs) > SPEED_WINDOW_MS) samples.shift();
}

function isOver(phase: Phase): boolean {
  return OVER.has(phase);
}
