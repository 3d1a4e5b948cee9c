/** Small static C programs that tests run inside containers, compiled once for the whole run. */
import { mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "./harness.ts";

const directory = join(tmpdir(), `bb-probes-${process.pid}`);
const compiled = new Map<string, Promise<string>>();

process.on("exit", () => rmSync(directory, { recursive: true, force: true }));

/** Compiles `test/probes/<name>.c` with `compiler`. @returns The program's path; not to be written to. */
export function probe(name: string, compiler = "gcc"): Promise<string> {
  const key = `${compiler}-${name}`;
  const known = compiled.get(key);
  if (known !== undefined) return known;
  const made = compile(name, compiler, join(directory, key));
  compiled.set(key, made);
  return made;
}

async function compile(name: string, compiler: string, path: string): Promise<string> {
  mkdirSync(directory, { recursive: true });
  const source = join(import.meta.dir, "probes", `${name}.c`);
  const { code, stderr } = await run([compiler, "-static", "-O1", "-Wall", "-o", path, source]);
  if (code !== 0) throw new Error(`${compiler} ${name}.c: ${stderr}`);
  return path;
}
