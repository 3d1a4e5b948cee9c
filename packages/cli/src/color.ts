import { isatty } from "node:tty";

/** BantuBox's palette, from dark to light, with its neighbours among a terminal's 256 colours. */
const PALETTE = {
  night: { rgb: "9;38;53", index: 235 },
  pine: { rgb: "27;66;66", index: 23 },
  sage: { rgb: "92;131;116", index: 66 },
  mist: { rgb: "158;200;185", index: 151 },
} as const;

type Shade = keyof typeof PALETTE;
export type Paint = (shade: Shade, text: string) => string;

interface Environment {
  readonly [name: string]: string | undefined;
  readonly NO_COLOR?: string | undefined;
  readonly TERM?: string | undefined;
  readonly COLORTERM?: string | undefined;
}

/** How to colour what goes to the descriptor `fd`; leaves text alone where colours are not wanted. */
export function painter(fd: number, env: Environment = process.env): Paint {
  return paintFor(isatty(fd), env);
}

/** As `painter`, for what is known of the terminal. */
export function paintFor(isTerminal: boolean, env: Environment): Paint {
  // https://no-color.org: any value but the empty one.
  if (!isTerminal || env.NO_COLOR || env.TERM === "dumb") return (_, text) => text;
  const full = env.COLORTERM === "truecolor" || env.COLORTERM === "24bit";
  return (shade, text) => {
    const { rgb, index } = PALETTE[shade];
    return `\x1b[38;${full ? `2;${rgb}` : `5;${index}`}m${text}\x1b[39m`;
  };
}
