/* SPDX-License-Identifier: MIT */
/*
 * A start that nobody stays behind: whoever called is the container's parent, or
 * a subreaper above them. The plan is carried out by the caller's own process,
 * which ends when the child is held, or has executed its command.
 */
#include "abi.h"
#include "session.h"
#include "sys.h"

void leave_main(struct session *session)
{
	struct failure failure = monitor_start(session);
	uint32_t step;

	if (!failure.error) {
		interpret(session, SECTION_STARTED, &step);
		sys_exit(0);
	}
	monitor_undo(session);
	client_explain(session, (const uint32_t[]){failure.section, failure.step, failure.error});
}
