/* SPDX-License-Identifier: MIT */
/*
 * The plan decoder alone, hosted, with sanitizers: plan.test.ts feeds it mutated plans.
 *
 * stdin: (u32 length, bytes)*; stdout: a line "0" (accepted) or "-22" each. An
 * accepted plan is then read the way the interpreter would, so that ASan sees
 * an address that leaves the plan.
 */
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t read_all(const struct plan *plan)
{
	size_t sum = 0;

	for (uint32_t i = 0; i < plan->header->steps; i++)
		for (int k = 0; k < 6; k++)
			if (plan->steps[i].ptrs >> k & 1)
				sum += strlen((char *)plan->data + plan->steps[i].a[k]);
	for (int s = 0; s < SECTIONS; s++) {
		struct plan_range r = plan->header->sections[s];

		for (uint32_t i = r.first; i < r.first + r.count; i++)
			sum += plan->steps[i].nr;
	}
	return sum;
}

int main(void)
{
	uint32_t length;

	while (fread(&length, 4, 1, stdin) == 1) {
		struct plan plan;
		/* Exactly as large as the plan, so that one byte too far is seen. */
		void *at = malloc(length);
		int result;

		if (!at || fread(at, 1, length, stdin) != length)
			return 1;
		result = plan_decode(at, length, &plan);
		if (!result && read_all(&plan) == (size_t)-1)
			return 1;
		printf("%d\n", result);
		free(at);
	}
	return 0;
}
