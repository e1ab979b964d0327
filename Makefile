# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# The front door: each target is a few words for meson or a script. 'make help' lists them; 'make'
# alone builds.

BUILD ?= build

.PHONY: build help quickstart check demo bench kmod dkms vm-check lint asan tsan format install clean

build:
	@scripts/build $(BUILD)

help:
	@echo "make quickstart  install what is missing, build, let Knell hear a real build"
	@echo "make demo        two small things that Knell shows"
	@echo "make build       build in $(BUILD)/ (other folder: BUILD=...)"
	@echo "make check       install what tests need, build, run all tests"
	@echo "make kmod        the kernel module for Debian's 6.1 kernel, in $(BUILD)/kmod/"
	@echo "make dkms        its sources as DKMS takes them, in $(BUILD)/dkms/"
	@echo "make vm-check    the integration tests on Debian's 6.1 kernel in QEMU, and the module's"
	@echo "make asan tsan   all tests with gcc's sanitizers (address and undefined; thread)"
	@echo "make lint        clang-format, clang-tidy, cppcheck, shellcheck, sparse"
	@echo "make bench       what Knell costs, beside its peers, in a few minutes (one: BENCH=NAME)"
	@echo "make format      put all C files into shape"
	@echo "make install     install under /usr/local (or as 'meson configure' was told)"
	@echo "make clean       remove all that was built and downloaded"

quickstart:
	@scripts/deps build
	@scripts/build $(BUILD)
	@scripts/quickstart $(BUILD)

demo:
	@scripts/deps build
	@scripts/build $(BUILD)
	@scripts/demo $(BUILD)

check:
	@scripts/deps check
	@scripts/check $(BUILD)

asan:
	@scripts/deps check
	@scripts/check $(BUILD)-asan -Db_sanitize=address,undefined -Db_lundef=false

tsan:
	@scripts/deps check
	@scripts/check $(BUILD)-tsan -Db_sanitize=thread -Db_lundef=false

kmod:
	@scripts/deps kmod
	@tests/vm/fetch build/vm
	@scripts/kmod $(BUILD)/kmod

dkms:
	@scripts/dkms $(BUILD)/dkms

vm-check:
	@scripts/deps check vm kmod
	@scripts/build $(BUILD) -Dtests=enabled
	@tests/vm/fetch build/vm
	@scripts/kmod $(BUILD)/kmod
	@scripts/kmod $(BUILD)/kmod-debug build/vm/headers/build debug
	@tests/vm/fetch build/vm-rt rt
	@scripts/kmod $(BUILD)/kmod-rt build/vm-rt/headers/build
	@meson test -C $(BUILD) --no-rebuild kmod-package
	@tests/vm/check $(BUILD)

lint:
	@scripts/deps build check lint kmod
	@scripts/build $(BUILD) -Dtests=enabled
	@tests/vm/fetch build/vm
	@scripts/lint $(BUILD)

bench:
	@scripts/deps build bench
	@scripts/build $(BUILD)
	@bench/all --build $(BUILD) $(if $(BENCH),--only $(BENCH))

format:
	@scripts/deps lint
	@find include lib bpf watchers init cli tests bench examples kmod samples -name '*.[ch]' | xargs clang-format -i

install:
	@scripts/build $(BUILD)
	@meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf build build-asan build-tsan $(BUILD) $(BUILD)-asan $(BUILD)-tsan
