# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# knell.mk - what the Makefile (or Kbuild) of a module that uses knell.ko includes, from the folder
# where knell.ko was built. Headers are found, symbols with their versions, and the bounds of the
# module's watchers: for those it must be composite, that is, have a NAME-y line, of one file or more.

knell_dir := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))

ccflags-y += -I$(firstword $(wildcard $(knell_dir)/include $(knell_dir)/../include))
ldflags-y += -T $(knell_dir)/knell.lds
KBUILD_EXTRA_SYMBOLS += $(knell_dir)/Module.symvers
