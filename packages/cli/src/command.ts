interface FlagText {
  /** One letter. */
  readonly short?: string;
  readonly aliases?: readonly string[];
  readonly description: string;
}

interface BooleanFlag extends FlagText {
  readonly type: "boolean";
}

interface ValueFlag extends FlagText {
  /** A list keeps every value; of a string the last one counts. */
  readonly type: "string" | "list";
  /** The value's name in the help, such as `BYTES`. */
  readonly value: string;
  /** Makes a value of the text; `label` is the flag as it was written. */
  readonly parse?: (text: string, label: string) => unknown;
  /** An empty value means something. Elsewhere it is none, as Docker has it, unless `parse` refuses it. */
  readonly mayBeEmpty?: boolean;
}

export type Flag = BooleanFlag | ValueFlag;
export type Flags = Readonly<Record<string, Flag>>;

type ParsedText<F> = F extends { parse: (text: string, label: string) => infer T } ? T : string;
type ParsedFlag<F> = F extends { type: "boolean" }
  ? boolean
  : F extends { type: "list" }
    ? ParsedText<F>[]
    : ParsedText<F>;
export type ParsedFlags<F extends Flags> = { readonly [K in keyof F]?: ParsedFlag<F[K]> };

interface Operands {
  /** As the help shows them: `CONTAINER [CONTAINER...]`. */
  readonly usage: string;
  readonly min: number;
  /** No limit when absent. */
  readonly max?: number;
  /** Flags end at the first operand; whatever follows is the container's. With "all" every word is an operand, flags too. */
  readonly rest?: boolean | "all";
}

export interface Globals {
  root?: string;
  runRoot?: string;
  storageDriver?: string;
  debug?: boolean;
}

interface Input<F extends Flags> {
  readonly flags: ParsedFlags<F>;
  readonly operands: readonly string[];
  readonly globals: Globals;
  /** `container` or `image` when the command was written behind one: `bb image rm`. */
  readonly group: string | undefined;
}

interface CommandDefinition<F extends Flags> {
  readonly name: string;
  readonly summary: string;
  readonly operands: Operands;
  readonly flags: F;
  readonly examples: readonly string[];
  /** Exit status when it fails by itself; 1 when absent. */
  readonly failure?: number;
  /** Carries it out. Returns the exit status. */
  run(input: Input<F>): Promise<number>;
}

/** What `parse` makes of a command line. */
export interface Parsed {
  readonly help: boolean;
  readonly flags: Readonly<Record<string, unknown>>;
  readonly operands: readonly string[];
}

/** A command whose flags' types are nobody's concern any more. */
export interface Command extends Omit<CommandDefinition<Flags>, "run"> {
  run(input: Parsed & Pick<Input<Flags>, "globals" | "group">): Promise<number>;
}

/** Declares a command: once for the parser, the help and the types of its flags. */
export function defineCommand<const F extends Flags>(definition: CommandDefinition<F>): Command {
  // `parse` below fills the flags by the same table that the types are made from.
  return definition as unknown as Command;
}

/** Understood by every command, and before it. */
export const globalFlags = {
  root: {
    type: "string",
    value: "DIR",
    description: "Where images and containers are kept (default: /var/lib/bantubox)",
  },
  "run-root": { type: "string", value: "DIR", description: "Where running state is kept (default: /run/bantubox)" },
  "storage-driver": {
    type: "string",
    value: "NAME",
    description: "How a new store keeps layers: overlay (default), btrfs or copy",
  },
  debug: { type: "boolean", description: "Show the stack of an error" },
} as const satisfies Flags;
