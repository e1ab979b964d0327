/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cpu.c - threads that belong to one CPU; see cpu.h. It owns nothing.
 */
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
	/* It may be elsewhere all the same: somebody has set the mask, the kernel moves it next. */
	if (cpu_is_alone(&set, cpu))
		return true;
	return CPU_ISSET(cpu, &set) && cpu_pin(cpu);
}
