/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * cpu.c - threads that belong to one CPU; see cpu.h. It owns nothing.
 */
#include <assert.h>

#include "cpu.h"

#define TRIES 1000

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

/*
 * For assert(): whose mask is this CPU alone runs there. Not at once, for the mask is set first and
 * the thread moved next; and somebody may change it again and again, so one look tells nothing.
 */
static __attribute__((unused)) bool comes_home(unsigned int cpu)
{
	cpu_set_t set;

	for (int i = 0; i < TRIES; i++) {
		if (sched_getcpu() == (int)cpu || sched_getaffinity(0, sizeof(set), &set) < 0 ||
		    !cpu_is_alone(&set, cpu))
			return true;
		sched_yield();
	}
	return false;
}

bool cpu_keep(unsigned int cpu)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return true;
	if (cpu_is_alone(&set, cpu)) {
		assert(comes_home(cpu));
		return true;
	}
	return CPU_ISSET(cpu, &set) && cpu_pin(cpu);
}
