/* SPDX-License-Identifier: MIT */
/* The plan's decoder: pure, without a system call, so that a fuzzer can have it to itself. */
#include "plan.h"
#include "sys.h"

static int check_sections(const struct plan_header *h)
{
	for (int i = 0; i < SECTIONS; i++) {
		struct plan_range r = h->sections[i];

		if (r.first > h->steps || r.count > h->steps - r.first)
			return -EINVAL;
	}
	return 0;
}

static int register_fits(uint8_t reg)
{
	return reg == NO_REG || reg < PLAN_REGS;
}

static int check_monitor(const struct plan_monitor *m, uint32_t data_bytes)
{
	if (!register_fits(m->stdin_reg) || !register_fits(m->stdout_reg) ||
	    !register_fits(m->stderr_reg) || !register_fits(m->listen_reg) ||
	    !register_fits(m->log_dir_reg) || !register_fits(m->connection_reg))
		return -EINVAL;
	if (m->pid_reg >= PLAN_REGS - 1 || m->detach_keys[sizeof(m->detach_keys) - 1])
		return -EINVAL;
	if (m->failed >= data_bytes || m->exited >= data_bytes || m->environment >= data_bytes)
		return -EINVAL;
	if ((m->failed | m->exited | m->environment) % 8)
		return -EINVAL;
	return 0;
}

static int check_steps(const struct plan *plan, uint32_t data_bytes)
{
	for (uint32_t i = 0; i < plan->header->steps; i++) {
		const struct plan_step *s = &plan->steps[i];

		if (s->nr > BUILTIN_LAST || s->ptrs >> 6 || s->regs >> 6 || (s->ptrs & s->regs))
			return -EINVAL;
		/* A fork fills two registers; the last one is kept free for that. */
		if (s->dst >= PLAN_REGS)
			return -EINVAL;
		if (s->nr == BUILTIN_FORK && s->a[0] >= SECTIONS)
			return -EINVAL;
		for (int k = 0; k < 6; k++) {
			if (s->ptrs >> k & 1 && s->a[k] >= data_bytes)
				return -EINVAL;
			if (s->regs >> k & 1 && s->a[k] >= PLAN_REGS)
				return -EINVAL;
		}
	}
	return 0;
}

/*
 * Arrays of addresses (argv, envp) lie in data as offsets, ended by a zero. The
 * table that names their slots lies in data too, so it is read before any slot
 * is changed and a slot must not lie in it.
 */
static int relocate(const struct plan_header *h, uint8_t *data, uint32_t data_bytes)
{
	uint32_t table = h->relocations, bytes;

	if (h->relocation_count > data_bytes / 4 || table % 4)
		return -EINVAL;
	bytes = h->relocation_count * 4;
	if (table > data_bytes || bytes > data_bytes - table)
		return -EINVAL;
	for (uint32_t i = 0; i < h->relocation_count; i++) {
		uint32_t slot;
		uint64_t offset;

		memcpy(&slot, data + table + i * 4, 4);
		if (slot % 8 || data_bytes < 8 || slot > data_bytes - 8)
			return -EINVAL;
		if (slot + 8 > table && slot < table + bytes)
			return -EINVAL;
		memcpy(&offset, data + slot, 8);
		if (offset >= data_bytes)
			return -EINVAL;
		offset = (uint64_t)(uintptr_t)(data + offset);
		memcpy(data + slot, &offset, 8);
	}
	return 0;
}

int plan_decode(void *at, size_t bytes, struct plan *plan)
{
	struct plan_header *h = at;
	uint32_t data_bytes;
	int error;

	if (bytes < sizeof(*h) || bytes > PLAN_MAX_BYTES || (uintptr_t)at % 8)
		return -EINVAL;
	if (h->magic != PLAN_MAGIC || h->version != PLAN_VERSION || h->bytes != bytes)
		return -EINVAL;
	if (h->steps > (bytes - sizeof(*h)) / sizeof(struct plan_step))
		return -EINVAL;
	if (h->data != sizeof(*h) + h->steps * sizeof(struct plan_step) || h->data >= bytes)
		return -EINVAL;
	data_bytes = (uint32_t)bytes - h->data;

	plan->header = h;
	plan->steps = (struct plan_step *)(h + 1);
	plan->data = (uint8_t *)at + h->data;
	/* Every string ends inside the plan because the plan ends with a zero. */
	if (plan->data[data_bytes - 1])
		return -EINVAL;
	error = check_sections(h);
	if (!error)
		error = check_monitor(&h->monitor, data_bytes);
	if (!error)
		error = check_steps(plan, data_bytes);
	if (!error)
		error = relocate(h, plan->data, data_bytes);
	return error;
}
