/* SPDX-License-Identifier: MIT */
/* The front of dist/bb: a `run --rm` or an `exec` of the same words as before. */
#include "carry.h"
#include "sys.h"

#define PATH_BYTES 4096

/* The flags in front of the command, as parseGlobals takes them. Returns the command, or null. */
static const char *command_of(char **argv, const char **run_root)
{
	for (; *argv && argv[0][0] == '-'; argv++) {
		int is_run_root = same_text(*argv, "--run-root");

		if ((!is_run_root && !same_text(*argv, "--root")) || !argv[1])
			return 0;
		argv++;
		if (is_run_root)
			*run_root = *argv;
	}
	return *argv;
}

void front_main(long *stack)
{
	static const char plans[] = "/plans";
	char **argv = (char **)(stack + 1) + 1, **end = argv;
	const char *run_root = "/run/bantubox", *command = stack[0] < 2 ? 0 : command_of(argv, &run_root);
	const struct holes none = {.count = 0};
	char directory[PATH_BYTES];
	size_t bytes;

	if (!command || (!same_text(command, "run") && !same_text(command, "exec")) || !may_carry_out())
		return;
	bytes = strlen(run_root);
	if (*run_root != '/' || bytes + sizeof(plans) > PATH_BYTES)
		return;
	memcpy(directory, run_root, bytes);
	memcpy(directory + bytes, plans, sizeof(plans));
	/* The words lie one behind the other, each with its zero byte, as the kernel has put them there. */
	for (; *end; end++)
		if (end[1] && end[1] != *end + strlen(*end) + 1)
			return;
	const struct request request = {
		.directory = directory,
		.skeleton = argv[0],
		.skeleton_bytes = (size_t)(end[-1] + strlen(end[-1]) + 1 - argv[0]),
		.holes = &none,
		.environment = end + 1,
	};
	carry_out(&request);
}
