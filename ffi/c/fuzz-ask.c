/* SPDX-License-Identifier: MIT */
/*
 * What is read of command lines, hosted and with sanitizers. Each ends with the argument ";"; for each
 * command, words, force, signal, root, log, ID and path are printed, a line each, or 0.
 */
#include "ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void try(char **argv)
{
	char *path = malloc(ASK_PATH_BYTES);
	struct asked asked;

	if (!path)
		exit(3);
	if (ask(argv, &asked, path))
		printf("%d\n%zu\n%d\n%d\n%s\n%s\n%s\n%s\n", (int)asked.command, asked.words, asked.is_forced, asked.signal,
		       asked.root, asked.log ? asked.log : "", asked.id, path);
	else
		printf("0\n");
	free(path);
}

int main(int argc, char **argv)
{
	/* What lies in front of a command line stands for the program's name. */
	for (int i = 1, first = 0; i < argc; i++) {
		if (strcmp(argv[i], ";"))
			continue;
		argv[i] = 0;
		try(argv + first);
		argv[i] = "name";
		first = i;
	}
	return 0;
}
