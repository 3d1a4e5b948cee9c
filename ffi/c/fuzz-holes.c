/* SPDX-License-Identifier: MIT */
/* find_holes on standard input, hosted and with sanitizers: fuzz-holes WORDS ID prints the skeleton's length, a newline, it, and each hole on a line. */
#include "holes.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	static char all[1 << 20];
	static struct holes holes;
	size_t bytes = fread(all, 1, sizeof(all), stdin);
	/* Exactly as large as the text, so that going past it is seen. */
	char *text = malloc(bytes + !bytes), *skeleton = malloc(3 * bytes + !bytes);
	long n;

	if (argc != 3 || !text || !skeleton)
		return 3;
	for (size_t i = 0; i < bytes; i++)
		text[i] = all[i];
	const struct holed_text in = {text, bytes, strtoull(argv[1], 0, 10), argv[2]};
	n = find_holes(&in, &holes, skeleton);
	printf("%ld\n", n);
	if (n >= 0) {
		fwrite(skeleton, 1, (size_t)n, stdout);
		for (unsigned i = 0; i < holes.count; i++)
			printf("\n%.*s", (int)holes.hole[i].bytes, holes.hole[i].text);
	}
	free(text);
	free(skeleton);
	return 0;
}
