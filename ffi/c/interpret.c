/* SPDX-License-Identifier: MIT */
/* Carries out the steps of a section, one system call each, and nothing else. */
#include "session.h"
#include "sys.h"

static long carry_out(struct session *session, const struct plan_step *step)
{
	uint64_t a[6];

	for (int k = 0; k < 6; k++) {
		a[k] = step->a[k];
		if (step->regs >> k & 1)
			a[k] = session->regs[a[k]];
		else if (step->ptrs >> k & 1)
			a[k] = (uint64_t)(uintptr_t)(session->plan.data + a[k]);
	}
	if (step->nr >= BUILTIN_FIRST)
		return builtin(session, step, a);
	return SYS_6(step->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int interpret(struct session *session, enum plan_section section, uint32_t *failed_step)
{
	struct plan_range range = session->plan.header->sections[section];

	for (uint32_t i = range.first; i < range.first + range.count; i++) {
		const struct plan_step *step = &session->plan.steps[i];
		long result;

		do
			result = carry_out(session, step);
		while (result == -EINTR);
		if (result >= 0) {
			if (step->dst)
				session->regs[step->dst - 1] = (uint64_t)result;
			continue;
		}
		if (step->tolerate && result == -(long)step->tolerate) {
			i += step->skip;
			continue;
		}
		if (step->flags & STEP_IGNORE || section == SECTION_UNDO)
			continue;
		*failed_step = i;
		return (int)result;
	}
	return 0;
}
