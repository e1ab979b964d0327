/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cpu.c - threads that belong to one CPU; see cpu.h. It owns nothing.
 */
#include <assert.h>

#include "cpu.h"

bool cpu_is_alone(const cpu_set_t *set, unsigned int cpu)
{
	return CPU_COUNT(set) == 1 && CPU_ISSET(cpu, set);
}

bool cpu_pin(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) == 0;
}

bool cpu_keep(unsigned int cpu)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return true;
	if (cpu_is_alone(&set, cpu)) {
		bool elsewhere = sched_getcpu() != (int)cpu;

		/* Unless it was changed between the two calls. */
		assert(!elsewhere ||
		       (sched_getaffinity(0, sizeof(set), &set) == 0 && !cpu_is_alone(&set, cpu)));
		(void)elsewhere;
		return true;
	}
	return CPU_ISSET(cpu, &set) && cpu_pin(cpu);
}
