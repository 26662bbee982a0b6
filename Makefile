# SPDX-License-Identifier: GPL-2.0-only
# gk's front door. "make help" lists what it does.
#
# The module is built in build/RELEASE/, from links to the sources, so that several kernels can be
# built for side by side. KDIR=... names the kernel's build directory, KERNEL=6.1|6.12|debug|kcsan one of
# the kernels of the virtual machine; without either it is the host's, if its headers are there.

ifeq ($(KDIR)$(KERNEL),)
KDIR := $(wildcard /lib/modules/$(shell uname -r)/build)
endif
KERNEL ?= 6.12
# Not expanded unless a recipe needs it: it may fetch a kernel.
kdir = $(or $(abspath $(KDIR)),$(shell qemu/kernel build-dir $(KERNEL)))

PREFIX ?= /usr/local
export PREFIX DESTDIR

.PHONY: all module module-path lib examples run check soak bench shell lint
.PHONY: install modules_install clean help
.DEFAULT_GOAL := all

all: module lib			## the module and the library

module: deps-build		## gk.ko, in build/RELEASE/
	+@qemu/module $(kdir)

module-path:
	@echo "$$(qemu/module --path $(kdir))/gk.ko"

lib: deps-build			## libgk.so and libgk.a, in libgk/
	@$(MAKE) --no-print-directory -C libgk

examples: lib
	@$(MAKE) --no-print-directory -C libgk examples

# The rest of what runs, runs in a virtual machine (qemu/run --help).
run: deps-run lib		## the example: hash a kernel tree with plain blocking calls
	@libgk/examples/run-treehash

check: deps-check lib		## every test on 6.1 and 6.12 (45 minutes)
	@selftests/run

soak: deps-check lib		## the same with the full counts (hours)
	-@qemu/deps soak
	@SOAK=1 selftests/run

bench: deps-bench lib		## the figures
	@selftests/bench/run

shell: deps-run lib		## a guest with gk.ko loaded, to look around
	@qemu/run --kernel $(KERNEL) --shell

lint: deps-lint			## checkpatch, sparse, W=1, clang-format, shellcheck
	@.ci/lint

install: lib			## the library (PREFIX, DESTDIR)
	@$(MAKE) --no-print-directory -C libgk install

modules_install: module		## the module, for the kernel it was built for (INSTALL_MOD_PATH)
	@dir=$(kdir); $(MAKE) --no-print-directory -C $$dir M=$$(qemu/module --path $$dir) modules_install

deps-%:
	@qemu/deps $*

clean:				## remove what was built here (kernels stay in the cache)
	rm -rf build
	@$(MAKE) --no-print-directory -C libgk clean

help:				## this list
	@awk -F '[:#]+' '/^[a-z_]+:.*##/ { printf "  make %-18s%s\n", $$1, $$NF }' Makefile
	@echo 'KDIR=DIR or KERNEL=6.1|6.12|debug|kcsan choose the kernel; W=1 C=2 V=1 do what they do in the kernel.'
