# GNU make.  The targets are listed in README.md.
#
# What is built goes into $(BUILD), here and nowhere else.

MAKEFLAGS += --no-print-directory

NGINX_SRC =
CC        = gcc
CLANG     = clang
CFLAGS   ?= -O2 -g
LDFLAGS  ?=
DESTDIR  ?=
PREFIX   ?= /usr/local
BUILD     = build
NGINX    := $(firstword $(wildcard $(shell command -v nginx) /usr/sbin/nginx) \
                        nginx)

# Set by `make asan`.
SANITIZE  =

ifneq ($(SANITIZE),)
SANITIZE_FLAGS = -fsanitize=$(SANITIZE) -fno-sanitize-recover=all \
                 -fno-omit-frame-pointer
endif

all_cflags  = $(strip $(CFLAGS) $(SANITIZE_FLAGS))
all_ldflags = $(strip $(LDFLAGS) $(SANITIZE_FLAGS))

WARNINGS = -std=gnu99 -Wall -Wextra -Wpedantic -Werror
INCLUDES = -Iinclude -Isrc/protocol -Isrc/engine -Isrc/control_plane -It

PARTS    := protocol engine queue control_plane service http
SOURCES  := $(sort $(foreach p,$(PARTS),$(wildcard src/$(p)/*.c)))
HEADERS  := $(sort $(foreach p,$(PARTS),$(wildcard src/$(p)/*.h)) \
                   include/workflow.h)
PLAIN    := $(sort $(foreach p,protocol engine control_plane, \
                             $(wildcard src/$(p)/*.c)))
PLAIN_LIBS = -pthread -ljansson -lcurl -lcrypto -lm
SCRIPTS  := $(sort $(wildcard src/queue/scripts/*.lua))
INCLUDED := $(sort $(wildcard src/queue/scripts/include/*.lua))
EMBED    := src/queue/scripts/embed.sh

module    = $(BUILD)/ngx_http_workflow_module.so
objs      = $(BUILD)/nginx/objs
workflows = $(patsubst src/workflows/%.c,$(BUILD)/workflows/%.so, \
                       $(sort $(wildcard src/workflows/*.c)))


.PHONY: all run stop test install clean asan fuzz lint soak interop run-tests \
        bench bench-quick bench-peers programs FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: $(module) $(workflows)


# A file that changes when what was built with does: compiler, flags, nginx, or
# the list of files.

settings = $(BUILD)/settings

define settings_text
$(CC) $(all_cflags) $(all_ldflags)
nginx $(NGINX) $(NGINX_SRC)
$(shell $(NGINX) -V 2>&1 | cksum)
$(SOURCES) $(HEADERS) $(SCRIPTS) $(INCLUDED)
endef

$(settings): FORCE
	@$(shell mkdir -p $(@D))$(file >$@.new,$(settings_text))
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@


# The module.  CFLAGS=... given to make must not replace those of nginx' own
# Makefile, so variables are taken out of MAKEFLAGS.

$(objs)/Makefile: config conf/configure.sh $(settings)
	rm -rf $(objs)
	NGINX="$(NGINX)" CC="$(CC)" CFLAGS="$(all_cflags)" \
	    LDFLAGS="$(all_ldflags)" \
	    conf/configure.sh . $(BUILD)/nginx $(NGINX_SRC)

$(module): $(objs)/Makefile $(SOURCES) $(HEADERS) $(SCRIPTS) $(INCLUDED) \
           $(EMBED)
	sh $(EMBED) $(objs)/ngx_workflow_scripts.h $(SCRIPTS)
	MAKEFLAGS="$${MAKEFLAGS%%-- *}" $(MAKE) -C $(BUILD)/nginx/tree \
	    -f $(abspath $(objs))/Makefile modules
	cp $(objs)/$(@F) $@.new
	mv -f $@.new $@


# The example workflows.

$(BUILD)/workflows/%.so: src/workflows/%.c include/workflow.h \
                         include/workflow_jansson.h $(settings)
	@mkdir -p $(@D)
	$(CC) $(WARNINGS) $(all_cflags) -fPIC -fvisibility=hidden -Iinclude \
	    -shared -o $@.new $< $(all_ldflags) -ljansson
	mv -f $@.new $@


# Unit tests: programs that link what needs no nginx.  Those named *_oom count
# and fail allocations.

library  = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(PLAIN))
programs = $(patsubst t/%.c,$(BUILD)/t/%, \
                      $(sort $(wildcard t/protocol/test_*.c \
                                        t/control_plane/test_*.c \
                                        t/engine/test_*.c)))

programs: $(programs)

$(BUILD)/obj/%.o: src/%.c $(settings)
	@mkdir -p $(@D)
	$(CC) $(WARNINGS) $(all_cflags) $(INCLUDES) -MMD -MP -c -o $@ $<

$(BUILD)/t/%_oom: all_ldflags += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc

$(BUILD)/t/%: t/%.c $(library) $(settings)
	@mkdir -p $(@D)
	$(CC) $(WARNINGS) $(all_cflags) $(INCLUDES) -MMD -MP -MF $@.d -o $@ $< \
	    $(library) $(all_ldflags) $(PLAIN_LIBS)

-include $(library:.o=.d) $(programs:=.d)


# The tests: unit tests and Test::Nginx suites in one run of prove.

TESTS = $(programs) $(sort $(wildcard t/*.t))
PROVE ?= prove

test:
	conf/packages.sh test
	$(MAKE) run-tests

test_env = TEST_NGINX_MODULE=$(abspath $(module)) \
           TEST_NGINX_WORKFLOWS=$(abspath $(BUILD)/workflows) \
           TEST_NGINX_SERVROOT=$(abspath $(BUILD)/servroot)

# Started by root, nginx' workers run as whom this folder belongs to: nobody may
# not read it.
ifeq ($(shell id -u),0)
test_env += TEST_NGINX_WORKER_USER="$(shell stat -c '%U %G' .)"
endif

ifeq ($(SANITIZE),)

run-tests: all $(programs)
	$(test_env) TEST_NGINX_BINARY=$(NGINX) $(PROVE) -It/lib $(TESTS)

else

# An nginx that is not instrumented loads a module that is: the sanitizers must
# come first in the process, hence LD_PRELOAD.  Only nginx gets it, not perl and
# what else the tests start, by a script that takes nginx' place.  It passes
# itself on as argv[0], which nginx executes again in a binary upgrade, where
# the environment is lost.  Reports go into files, because nginx' workers have
# no standard error; any report fails the tests.  nginx leaves memory to the end
# of the process, so leaks are only looked for in the unit tests.

reports = $(abspath $(BUILD)/reports)

define sanitized_nginx
#!/bin/bash
export LD_PRELOAD="$(shell $(CC) -print-file-name=libasan.so) \
$(shell $(CC) -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0:log_path=$(reports)/asan
export UBSAN_OPTIONS=print_stacktrace=1:log_path=$(reports)/ubsan
exec -a "$$0" $(NGINX) "$$@"
endef

$(BUILD)/nginx.sh: $(settings)
	$(file >$@,$(sanitized_nginx))
	chmod +x $@

run-tests: all $(programs) $(BUILD)/nginx.sh
	rm -rf $(reports)
	mkdir -m 1777 $(reports)
	$(test_env) TEST_NGINX_BINARY=$(abspath $(BUILD))/nginx.sh \
	    $(PROVE) -It/lib $(TESTS); \
	failed=$$?; \
	cat $(reports)/* 2>/dev/null && failed=1; \
	exit $$failed

endif

asan:
	conf/packages.sh test
	$(MAKE) run-tests BUILD=$(BUILD)/asan SANITIZE=address,undefined \
	    CFLAGS="-O1 -g"


# Load and faults for so many seconds, and whether all promises were kept.

SECONDS = 120

soak: all
	conf/packages.sh test
	$(test_env) TEST_NGINX_BINARY=$(NGINX) perl -It/lib -It/soak \
	    t/soak/soak.pl $(SECONDS)


# Against llama_deploy itself, in a Python environment below $(BUILD).  Where
# that cannot be had the suite is left out, which fails unless OPTIONAL is set.
# ONLY: parts of names of tests.

ONLY     =
OPTIONAL =

interop:
	conf/packages.sh interop
	$(MAKE) all
	BUILD=$(BUILD) $(test_env) TEST_NGINX_BINARY=$(NGINX) \
	    sh t/interop/run.sh $(ONLY) || [ $$? -eq 77 -a -n "$(OPTIONAL)" ]


# What is reached, as ratios to floors that are measured beside it.  bench-quick
# takes less than a minute and fails only when a ratio is below half of its
# goal; bench-peers compares with other queues, which it installs below
# $(BUILD).

bench         = $(BUILD)/bench/bench
bench_sources = $(sort $(wildcard t/bench/*.c))
bench_run     = BUILD=$(BUILD) $(test_env) TEST_NGINX_BINARY=$(NGINX) \
                perl -It/lib -It/bench

$(BUILD)/bench/scripts.h: $(SCRIPTS) $(INCLUDED) $(EMBED)
	@mkdir -p $(@D)
	sh $(EMBED) $@ $(SCRIPTS)

$(bench): $(bench_sources) t/bench/bench.h $(BUILD)/bench/scripts.h $(settings)
	$(CC) $(WARNINGS) $(all_cflags) -I$(@D) -o $@ $(bench_sources) \
	    $(all_ldflags) -lhiredis -lm

bench bench-quick bench-peers:
	conf/packages.sh bench
	$(MAKE) all $(bench)
	$(bench_run) t/bench/$(bench_what) $(ONLY)

bench:       bench_what = bench.pl full
bench-quick: bench_what = bench.pl quick
bench-peers: bench_what = peers.pl


# Fuzzing by libFuzzer; what it finds of interest is kept below $(BUILD).

FUZZ_SECONDS = 60

fuzzers  = $(patsubst t/%.c,$(BUILD)/fuzz/%, \
                      $(sort $(wildcard t/protocol/fuzz_*.c \
                                        t/control_plane/fuzz_*.c \
                                        t/engine/fuzz_*.c)))

$(BUILD)/fuzz/%: t/%.c $(PLAIN) $(HEADERS)
	@mkdir -p $(@D) $@.corpus
	$(CLANG) $(WARNINGS) -O1 -g $(INCLUDES) -o $@ \
	    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	    $(filter %.c,$^) $(PLAIN_LIBS)

fuzz:
	conf/packages.sh lint
	$(MAKE) $(fuzzers)
	set -e; for f in $(fuzzers); do \
	    $$f -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
	        -artifact_prefix=$$f. $$f.corpus \
	        $(wildcard t/protocol/corpus t/engine/corpus); \
	done


# Everything once more by clang, with its warnings; then its analyzer over what
# needs no nginx; then the scripts.

lint:
	conf/packages.sh lint
	$(MAKE) all programs BUILD=$(BUILD)/clang CC=$(CLANG)
	for f in $(PLAIN) $(wildcard src/workflows/*.c); \
	do \
	    $(CLANG) --analyze -Xclang -analyzer-werror $(WARNINGS) $(INCLUDES) \
	        -o /dev/null $$f || exit 1; \
	done
	for f in conf/*.sh $(EMBED) .ci/run .ci/prove; do \
	    case $$(head -n 1 $$f) in \
	        *bash) bash -n $$f ;; \
	        *) sh -n $$f ;; \
	    esac || exit 1; \
	done


# The quick start: a private Redis and nginx below $(BUILD)/run.

run:
	conf/packages.sh run
	$(MAKE) all
	conf/run.sh start $(BUILD) $(NGINX)

stop:
	conf/run.sh stop $(BUILD)


# Files that may be in use are replaced by rename, never overwritten.

modules_path = $(shell $(NGINX) -V 2>&1 | tr ' ' '\n' \
                       | sed -n 's/^--modules-path=//p')
include_dir  = $(PREFIX)/include/nginx-workflow
pc_dir       = $(PREFIX)/lib/pkgconfig
put          = install -D -m 644 -T $(1) $(2).new && mv -f $(2).new $(2)

install: all
	@test -n "$(modules_path)" || { \
	    echo "$(NGINX) -V names no --modules-path: make install" \
	         "modules_path=DIR" >&2; exit 1; }
	$(call put,$(module),$(DESTDIR)$(modules_path)/$(notdir $(module)))
	$(call put,include/workflow.h,$(DESTDIR)$(include_dir)/workflow.h)
	$(call put,include/workflow_jansson.h,$(DESTDIR)$(include_dir)/workflow_jansson.h)
	sed 's|@PREFIX@|$(PREFIX)|' conf/nginx-workflow.pc.in \
	    > $(BUILD)/nginx-workflow.pc
	$(call put,$(BUILD)/nginx-workflow.pc,$(DESTDIR)$(pc_dir)/nginx-workflow.pc)
	@echo
	@echo "Installed. At the top of nginx.conf goes:"
	@echo "    load_module $(modules_path)/$(notdir $(module));"


clean: stop
	rm -rf $(BUILD)
