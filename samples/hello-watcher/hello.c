// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <knell/watcher.h>

static int hello(const struct knell_event *event, void *userdata)
{
	return pr_info("hello: %s (%u) died\n", event->comm, event->task.tgid);
}

KNELL_WATCHER(exit, hello);
KNELL_MODULE(4096);
MODULE_LICENSE("Dual BSD/GPL");
MODULE_AUTHOR("The Knell authors");
MODULE_DESCRIPTION("Sample of knell.ko: says who died");
MODULE_VERSION("1");
