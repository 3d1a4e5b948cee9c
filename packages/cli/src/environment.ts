const taken = new Map<string, string>();

/**
 * Takes the variables out of our environment that would steer Bun, Node or the dynamic loader in whatever we
 * start. `callerVariable` still knows them: `-e NODE_ENV` is the user's to pass into a container.
 */
export function scrubEnvironment(env: Record<string, string | undefined> = process.env): void {
  for (const name in env) {
    if (!name.startsWith("BUN_") && !name.startsWith("NODE_") && !name.startsWith("LD_")) continue;
    const value = env[name];
    if (value !== undefined) taken.set(name, value);
    delete env[name];
  }
}

/** A variable of whoever called us. */
export function callerVariable(name: string): string | undefined {
  return taken.get(name) ?? (Object.hasOwn(process.env, name) ? process.env[name] : undefined);
}
