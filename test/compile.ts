/**
 * Small static C programs that tests run inside containers. They are kept below dist/, so that a machine
 * without a compiler that shares the checkout, such as the tests' virtual one, has them too.
 */
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { PROJECT, run } from "./harness.ts";

const directory = join(PROJECT, "dist/probes");
const compiled = new Map<string, Promise<string>>();

/** Compiles `test/probes/<name>.c` with `compiler`. @returns The program's path; not to be written to. */
export function probe(name: string, compiler = "gcc"): Promise<string> {
  const key = `${compiler}-${name}`;
  const known = compiled.get(key);
  if (known !== undefined) return known;
  const made = compile(name, compiler);
  compiled.set(key, made);
  return made;
}

async function compile(name: string, compiler: string): Promise<string> {
  const source = join(import.meta.dir, "probes", `${name}.c`);
  const path = join(directory, `${compiler}-${name}-${Bun.hash(readFileSync(source)).toString(16)}`);
  if (existsSync(path)) return path;
  mkdirSync(directory, { recursive: true });
  const aside = `${path}.${process.pid}`;
  const { code, stderr } = await run([compiler, "-static", "-O1", "-Wall", "-o", aside, source]);
  if (code !== 0) throw new Error(`${compiler} ${name}.c: ${stderr}`);
  renameSync(aside, path);
  return path;
}
