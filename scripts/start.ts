/** The README's first command: installs the dependencies, builds, and runs a container. */
import { join } from "node:path";
import { must, ROOT, run, say } from "./step.ts";

const GREETING = 'echo "Hello from $(hostname), process $$ of $(ls -d /proc/[0-9]* | wc -l)"';

if (process.platform !== "linux" || process.getuid?.() !== 0) {
  console.error("BantuBox makes Linux containers, and for now as root: run this as root on Linux");
  process.exit(1);
}
for (const tool of ["gcc", "make"]) {
  if (Bun.which(tool) !== null) continue;
  console.error(`Cannot build: "${tool}" is missing. On Debian: apt-get install gcc make`);
  process.exit(1);
}

say("Installing the dependencies");
must(["bun", "install", "--frozen-lockfile"]);

say("Building the trampoline (C) and the executable, dist/bb");
must(["bun", "run", "build"]);

const command = ["run", "--rm", "host", "sh", "-c", GREETING];
say(`Running a container: bb run --rm host sh -c '${GREETING}'`);
const status = run([join(ROOT, "dist/bb"), ...command]);
if (status !== 0) process.exit(status);

say("That was a container: its own processes, host name, network and files over this machine's own root");
console.log("Try next:\n  dist/bb run -it --rm host bash\n  dist/bb --help");
