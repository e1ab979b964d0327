# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# knell.mk - what the Makefile (or Kbuild) of a module that uses knell.ko includes, from the folder
# where knell.ko was built. Headers are found, and symbols with their versions.

knell_dir := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))

ccflags-y += -I$(firstword $(wildcard $(knell_dir)/include $(knell_dir)/../include))
KBUILD_EXTRA_SYMBOLS += $(knell_dir)/Module.symvers
