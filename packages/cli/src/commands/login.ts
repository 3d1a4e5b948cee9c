import { BoxError, login, loginAgain } from "@bantubox/core";
import { defineCommand } from "../command.ts";
import { escapeText } from "../escape.ts";
import { describe } from "../fail.ts";
import { registryFlags, registryOptions } from "../flags.ts";
import { say } from "../message.ts";
import { printLine } from "../output.ts";
import { askHidden, askLine, canAsk, readSecret } from "../prompt.ts";
import { usageError } from "../usage.ts";

interface Given {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly isOnStdin: boolean;
}

/** Who the user says to be; what was not said is asked for. */
function credentialsOf({ username, password, isOnStdin }: Given): { username: string; password: string } {
  if (isOnStdin && (username === undefined || username === "")) {
    throw usageError("Cannot log in: --password-stdin needs a name, too", "Add --username NAME");
  }
  const canPrompt = canAsk();
  const name = username ?? (canPrompt ? askLine("Username: ") : "");
  if (name === "") throw usageError("Cannot log in: there is no name", "Add --username NAME");
  if (name.includes(":")) throw usageError("Cannot log in: a name has no colon");
  let secret = isOnStdin ? readSecret() : password;
  if (secret === undefined && canPrompt) secret = askHidden("Password: ");
  if (secret === undefined || secret === "") {
    throw usageError("Cannot log in: there is no password", "Give it with --password-stdin");
  }
  return { username: name, password: secret };
}

/** Whether what an earlier login has kept is still good. Never fails: then the user is asked. */
async function isStillKnown(server: string | undefined, options: ReturnType<typeof registryOptions>): Promise<boolean> {
  try {
    const known = await loginAgain(server, options);
    if (known === undefined) return false;
    say("info", `The login that is kept for ${escapeText(known.registry)} is still good`);
    return true;
  } catch (error) {
    if (!(error instanceof BoxError) || !canAsk()) throw error;
    say("warn", describe(error).text);
    return false;
  }
}

export default defineCommand({
  name: "login",
  summary: "Log in to a registry",
  operands: { usage: "[REGISTRY]", min: 0, max: 1 },
  flags: {
    username: { type: "string", short: "u", value: "NAME", description: "Who you are there" },
    password: {
      type: "string",
      short: "p",
      value: "PASSWORD",
      mayBeEmpty: true,
      description: "Shown to everybody who lists processes: better is --password-stdin",
    },
    "password-stdin": { type: "boolean", description: "Read the password from standard input" },
    ...registryFlags,
  },
  examples: ["bb login", "bb login -u me --password-stdin registry.example.org:5000 < password.txt"],
  async run({ flags, operands: [server] }) {
    const { username, password } = flags;
    const isOnStdin = flags["password-stdin"] === true;
    const options = registryOptions(flags);
    if (isOnStdin && password !== undefined) {
      throw usageError("Cannot log in: --password and --password-stdin exclude each other");
    }
    if (password !== undefined) say("warn", "A password among arguments can be seen by others: use --password-stdin");
    const isAsking = username === undefined && password === undefined && !isOnStdin;
    if (!isAsking || !(await isStillKnown(server, options))) {
      const { file } = await login(server, credentialsOf({ username, password, isOnStdin }), options);
      if (file !== undefined) {
        say("warn", `The password is kept unencrypted in ${escapeText(file)}`, "A credential helper keeps it better");
      }
    }
    printLine("Login Succeeded");
    return 0;
  },
});
