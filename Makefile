# VecStore's build. `make help` lists what it can do.
#
# Every folder src/<layer>/ becomes $(BUILD)/lib/lib<layer>.a, from whatever .c files lie in it. Programs link these from
# the top layer down in one pass, and `make check` links each layer against the lower ones alone, so that a call upwards
# does not link. Sanitizer, debug and fuzzing builds are this Makefile called again with another BUILD.

VERSION := 0.1.0

BUILD  ?= build
PREFIX ?= /usr/local
ifeq ($(origin CC),default)
CC     := gcc
endif
CXX    ?= g++
AR     ?= ar
SAN    ?=
OPT    ?= -O2
# What the hot layers get: -O3 unless another level was asked for.
OPT_HOT ?= $(if $(filter -O2,$(OPT)),-O3,$(OPT))
TEST_TIMEOUT ?= 180
FUZZ_SECONDS ?= 60
ARGS ?=

Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-7s %s\n' '$(1)' '$(2)')

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := all
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:

# ---- layers ----------------------------------------------------------------------------------------------------------

# From the top down: the order of linking.
LAYERS := gateway cluster repl server cmd config net persist store index resp vec base
# What the embedded engine consists of.
ENGINE_LAYERS := persist store index resp vec base

layer_src = $(sort $(wildcard src/$(1)/*.c))
layer_obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(call layer_src,$(1)))
PRESENT := $(foreach l,$(LAYERS),$(if $(call layer_src,$(l)),$(l)))
layer_lib = $(BUILD)/lib/lib$(1).a
LAYER_LIBS := $(foreach l,$(PRESENT),$(call layer_lib,$(l)))
# Layers that $(1) may call: strictly lower ranks (net and config share one, so do vec and resp).
below_base    :=
below_vec     := base
below_resp    := base
below_index   := vec base
below_store   := index resp vec base
below_persist := store $(below_store)
below_net     := persist $(below_persist)
below_config  := persist $(below_persist)
below_cmd     := config net $(below_net)
below_server  := cmd $(below_cmd)
below_repl    := server $(below_server)
below_cluster := repl $(below_repl)
below_gateway := cluster $(below_cluster)

# ---- flags -----------------------------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wwrite-strings
CSTD := -std=gnu17 -ffp-contract=off -fno-omit-frame-pointer
DEFS := -D_GNU_SOURCE -DVS_VERSION='"$(VERSION)"' -Isrc
comma := ,
IS_CLANG := $(findstring clang,$(CC))
# Sanitized builds do without jemalloc, so that every block is the sanitizer's own.
SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -DVS_NO_JEMALLOC)
# gcc warns that ThreadSanitizer does not model fences; the code that uses them says why that is safe.
SAN_FLAGS += $(if $(findstring thread,$(SAN)),$(if $(IS_CLANG),,-Wno-tsan))
# What sanitizers print takes lines alone, which are half as much to write and to link.
BASE_FLAGS := $(CSTD) $(WARN) $(if $(SAN),-g1,-g) $(DEFS) $(SAN_FLAGS)
# CFLAGS and LDFLAGS stay the user's, after ours.
compile = $(CC) $(BASE_FLAGS) $(1) $(DEPS_CFLAGS) $(CPPFLAGS) $(CFLAGS) -MMD -MP

hot = $(filter src/vec/% src/index/%,$(1))
opt_of = $(if $(call hot,$(1)),$(OPT_HOT),$(OPT))

# ---- dependencies ----------------------------------------------------------------------------------------------------

# $(BUILD)/deps.mk holds the flags of the libraries. Making it installs what is missing, then make starts over with it.
PKGS := libevent_core libevent_extra libevent_pthreads jemalloc libzstd libxxhash jansson hiredis libsystemd
QUIET_GOALS := help clean distclean layers install-deps
ifneq ($(if $(MAKECMDGOALS),$(filter-out $(QUIET_GOALS),$(MAKECMDGOALS)),all),)
include $(BUILD)/deps.mk
endif

$(BUILD)/deps.mk: deps/install.sh deps/flags.sh
	@mkdir -p $(@D)
	@deps/install.sh build
	@deps/flags.sh $(PKGS) > $@.tmp && mv $@.tmp $@

$(BUILD)/.deps-tests: deps/install.sh $(wildcard tests/integration/node/package.json)
	@mkdir -p $(@D)
	@deps/install.sh tests && touch $@

$(BUILD)/.deps-bench: deps/install.sh
	@mkdir -p $(@D)
	@deps/install.sh bench && touch $@

ENGINE_LIBS := $(if $(SAN),,$(LIBS_jemalloc)) $(LIBS_libzstd) $(LIBS_libxxhash) $(LIBS_jansson) -lm -lpthread
EVENT_LIBS  := $(LIBS_libevent_core) $(LIBS_libevent_extra) $(LIBS_libevent_pthreads)
SERVER_LIBS := $(EVENT_LIBS) $(LIBS_libsystemd) $(ENGINE_LIBS)
LINK_FLAGS   = $(SAN_FLAGS) -Wl,--as-needed $(LDFLAGS)

# ---- objects ---------------------------------------------------------------------------------------------------------

# Objects depend on the flags they were made with.
FLAGS_NOW := $(CC) $(BASE_FLAGS) $(OPT) $(OPT_HOT) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS)
$(BUILD)/.flags: FORCE | $(BUILD)/deps.mk
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' > $@

# The commit, for INFO; its own file, so that a commit recompiles one object.
$(BUILD)/.commit: FORCE
	@mkdir -p $(@D)
	@sha=$$(git rev-parse --short=8 HEAD 2>/dev/null || echo 00000000); \
	 test -z "$$(git status --porcelain -uno -- src 2>/dev/null)" || sha="$$sha-dirty"; \
	 echo "$$sha" | cmp -s - $@ || echo "$$sha" > $@

$(BUILD)/obj/src/base/version.o: $(BUILD)/.commit
$(BUILD)/obj/src/base/version.o: PRIVATE_DEFS = -DVS_GIT_COMMIT='"$(shell cat $(BUILD)/.commit)"'

$(BUILD)/obj/%.o: %.c $(BUILD)/.flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(call compile,$(call opt_of,$<) $(PRIVATE_DEFS)) -c -o $@ $<

# A source that goes away changes its archive, too: each has a list of what it is made of.
define layer_rule
$(BUILD)/lib/.$(1): FORCE
	@mkdir -p $$(@D)
	@echo '$(call layer_obj,$(1))' | cmp -s - $$@ || echo '$(call layer_obj,$(1))' > $$@
$(call layer_lib,$(1)): $(call layer_obj,$(1)) $(BUILD)/lib/.$(1)
	$$(call say,AR,$$@)
	@mkdir -p $$(@D)
	$$(Q)rm -f $$@ && $$(AR) rcs $$@ $(call layer_obj,$(1))
endef
$(foreach l,$(PRESENT),$(eval $(call layer_rule,$(l))))

ENGINE_OBJ := $(foreach l,$(ENGINE_LAYERS),$(call layer_obj,$(l)))
$(BUILD)/libvecstore.a: $(ENGINE_OBJ) $(foreach l,$(filter $(ENGINE_LAYERS),$(PRESENT)),$(BUILD)/lib/.$(l))
	$(call say,AR,$@)
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $(ENGINE_OBJ)

# ---- programs --------------------------------------------------------------------------------------------------------

PROGRAMS := $(BUILD)/libvecstore.a
ifneq ($(wildcard src/main.c),)
PROGRAMS += $(BUILD)/vecstore-server
endif
BENCH_SRC := $(sort $(wildcard utils/benchmark/*.c))
ifneq ($(BENCH_SRC),)
PROGRAMS += $(BUILD)/vecstore-benchmark
endif
UTILS := $(patsubst utils/%.c,$(BUILD)/utils/%,$(wildcard utils/*.c))
# vecstore-check-aof, vecstore-check-rdb
CHECKERS := $(patsubst utils/check_%.c,$(BUILD)/vecstore-check-%,$(wildcard utils/check_*.c))

all: $(PROGRAMS) $(UTILS) $(CHECKERS)

$(BUILD)/vecstore-check-%: $(BUILD)/utils/check_%
	$(Q)cp $< $@

$(BUILD)/vecstore-server: $(BUILD)/obj/src/main.o $(LAYER_LIBS)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK_FLAGS) -rdynamic -o $@ $^ $(SERVER_LIBS)

BENCH_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(BENCH_SRC))
$(BENCH_OBJ): PRIVATE_DEFS = -Iutils
# All of it but main, for the tests of its parts.
BENCH_LIB := $(if $(BENCH_SRC),$(BUILD)/lib/libbenchmark.a)
$(BUILD)/lib/libbenchmark.a: $(filter-out %/main.o,$(BENCH_OBJ))
	$(call say,AR,$@)
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(BUILD)/vecstore-benchmark: $(filter %/main.o,$(BENCH_OBJ)) $(BENCH_LIB) $(BUILD)/libvecstore.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK_FLAGS) -o $@ $^ $(LIBS_hiredis) $(ENGINE_LIBS)

# A program of one file uses any layer it likes.
$(BUILD)/utils/%: $(BUILD)/obj/utils/%.o $(LAYER_LIBS)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINK_FLAGS) -o $@ $^ $(LIBS_hiredis) $(SERVER_LIBS)

# ---- tests -----------------------------------------------------------------------------------------------------------

# tests/lib/*.c serves every test program, tests/integration/lib/*.c those that start servers.
TEST_KINDS := unit recall model integration drills
tests_of = $(sort $(wildcard tests/$(1)/test_*.c tests/$(1)/drill_*.c))
programs_of = $(patsubst tests/%.c,$(BUILD)/tests/%,$(call tests_of,$(1)))
TEST_PROGRAMS := $(foreach k,$(TEST_KINDS),$(call programs_of,$(k)))
TEST_LIB_OBJ   := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/lib/*.c))
SERVER_LIB_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/integration/lib/*.c))
TEST_LIBS := -lcmocka

$(BUILD)/obj/tests/%.o: PRIVATE_DEFS = -Itests -Iutils
$(TEST_PROGRAMS:$(BUILD)/%=$(BUILD)/obj/%.o) $(TEST_LIB_OBJ) $(SERVER_LIB_OBJ): | $(BUILD)/.deps-tests

$(call programs_of,unit) $(call programs_of,recall) $(call programs_of,model): \
$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(TEST_LIB_OBJ) $(BENCH_LIB) $(LAYER_LIBS)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINK_FLAGS) -o $@ $^ $(TEST_LIBS) $(LIBS_hiredis) $(SERVER_LIBS)

$(call programs_of,integration) $(call programs_of,drills): \
$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(SERVER_LIB_OBJ) $(TEST_LIB_OBJ) $(LAYER_LIBS)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINK_FLAGS) -o $@ $^ $(TEST_LIBS) $(LIBS_hiredis) $(SERVER_LIBS)

test-programs: all $(TEST_PROGRAMS)

# What the sanitizer phases of tests/run.sh build: the server, the tools and the programs named in PROGRAMS_WANTED.
programs-wanted: $(filter %/vecstore-server %/vecstore-benchmark,$(PROGRAMS)) $(CHECKERS) $(addprefix $(BUILD)/tests/,$(PROGRAMS_WANTED))

# make test              everything
# make test TESTS=name   the programs whose name contains `name`, without sanitizers, checks and fuzzing
TESTS_WANTED = $(foreach p,$(TEST_PROGRAMS),$(if $(findstring $(TESTS),$(p:$(BUILD)/tests/%=%)),$(p)))
test: $(if $(TESTS),$(TESTS_WANTED) $(if $(findstring /integration/,$(TESTS_WANTED))$(findstring /drills/,$(TESTS_WANTED)),$(filter %/vecstore-server,$(PROGRAMS)) $(CHECKERS)),test-programs)
	@BUILD='$(BUILD)' TESTS='$(TESTS)' TEST_TIMEOUT='$(TEST_TIMEOUT)' MAKE='$(MAKE)' tests/run.sh

# The drills of durability at their full counts: half an hour. `make test` runs them with small ones.
DRILL_TIMEOUT ?= 14400
drills: $(call programs_of,drills) $(filter %/vecstore-server,$(PROGRAMS))
	@BUILD='$(BUILD)' TESTS='drills/$(DRILL)' TEST_TIMEOUT='$(DRILL_TIMEOUT)' VECSTORE_DRILL=full MAKE='$(MAKE)' tests/run.sh

# Three nodes under random commands, kills and failovers (tests/soak/soak.py).
#   make soak SOAK_WITH=expire,evict,threads SOAK_SECONDS=600 VECSTORE_SEED=7
#   make soak BUILD=build/tsan SAN=thread OPT=-O1 SOAK_RUN='setarch -R'
SOAK_SECONDS ?= 60
SOAK_WITH ?=
SOAK_RUN ?=
soak: $(filter %/vecstore-server,$(PROGRAMS)) $(BUILD)/.deps-tests
	$(Q)/usr/bin/python3 tests/soak/soak.py --server '$(SOAK_RUN) $(BUILD)/vecstore-server' --seconds $(SOAK_SECONDS) --with '$(SOAK_WITH)'

# ---- other builds ----------------------------------------------------------------------------------------------------

ASAN_BUILD := BUILD=$(BUILD)/asan SAN=address,undefined OPT=-O1
TSAN_BUILD := BUILD=$(BUILD)/tsan SAN=thread OPT=-O1
UBSAN_BUILD := BUILD=$(BUILD)/ubsan SAN=undefined OPT=-O1
debug:
	$(Q)$(MAKE) BUILD=$(BUILD)/debug OPT=-O0 CFLAGS='-g3 $(CFLAGS)' all
asan:
	$(Q)$(MAKE) $(ASAN_BUILD) all
tsan:
	$(Q)$(MAKE) $(TSAN_BUILD) all
ubsan:
	$(Q)$(MAKE) $(UBSAN_BUILD) all

# ---- fuzzing ---------------------------------------------------------------------------------------------------------

FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(FUZZ_SRC))
FUZZ_BUILD := BUILD=$(BUILD)/fuzz CC=clang SAN=fuzzer-no-link,address,undefined OPT=-O1

FUZZ_LIB_OBJ := $(patsubst %,$(BUILD)/obj/tests/lib/%.o,journal_rig run)

# libFuzzer calls a function that no header declares.
$(BUILD)/obj/tests/fuzz/%.o: PRIVATE_DEFS = -Itests -Iutils -Wno-missing-prototypes
$(FUZZ_PROGRAMS:$(BUILD)/%=$(BUILD)/obj/%.o): | $(BUILD)/.deps-tests
$(FUZZ_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(FUZZ_LIB_OBJ) $(BENCH_LIB) $(LAYER_LIBS)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -fsanitize=fuzzer,address,undefined -Wl,--as-needed $(LDFLAGS) -o $@ $^ $(LIBS_hiredis) $(SERVER_LIBS)
fuzz-programs: $(FUZZ_PROGRAMS)

# make fuzz [FUZZ=name] [FUZZ_SECONDS=60]: every target, or those whose name contains `name`
fuzz: fuzz-build
	@BUILD='$(BUILD)' FUZZ='$(FUZZ)' FUZZ_SECONDS='$(FUZZ_SECONDS)' tests/fuzz.sh
fuzz-build: $(BUILD)/.deps-tests
	$(Q)$(MAKE) $(FUZZ_BUILD) fuzz-programs

# ---- checks ----------------------------------------------------------------------------------------------------------

# Each layer, whole, against the lower ones alone: a call upwards or sideways is an undefined symbol. libevent is for net
# and what stands on it.
USES_EVENT := net cmd server repl cluster gateway
define link_rule
$(BUILD)/check/$(1).linked: $(call layer_lib,$(1)) $(foreach l,$(filter $(below_$(1)),$(PRESENT)),$(call layer_lib,$(l)))
	$$(call say,CHECK,$(1) links without what is above it)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(LINK_FLAGS) -nostartfiles -Wl,-e,0 -o $$@ -Wl,--whole-archive $$< -Wl,--no-whole-archive \
	    $$(wordlist 2,99,$$^) $(if $(filter $(USES_EVENT),$(1)),$(SERVER_LIBS),$(LIBS_libsystemd) $(ENGINE_LIBS))
endef
$(foreach l,$(PRESENT),$(eval $(call link_rule,$(l))))
check-links: $(foreach l,$(PRESENT),$(BUILD)/check/$(l).linked)

check: check-links
	@for c in tests/check/*.sh; do echo "  CHECK   $$c"; BUILD='$(BUILD)' "$$c" || exit 1; done

# The pages of the commands, from their table.
docs: $(BUILD)/utils/docs_gen
	$(Q)mkdir -p docs/commands && rm -f docs/commands/*.md && $< docs/commands

# ---- running, measuring, installing ----------------------------------------------------------------------------------

run: all
	$(BUILD)/vecstore-server $(wildcard vecstore.conf) $(ARGS)

# The comparison programs in utils/bench link what their name asks for (hnswlib is headers alone); they alone are built for this very machine.
BENCH_CXX := $(patsubst utils/bench/%.cpp,$(BUILD)/bench/%,$(wildcard utils/bench/*.cpp))
$(BUILD)/bench/%: utils/bench/%.cpp $(wildcard utils/bench/*.h) | $(BUILD)/.deps-bench
	$(call say,CXX,$<)
	@mkdir -p $(@D)
	$(Q)$(CXX) -std=c++17 -O3 -march=native -Wall -Iutils -o $@ $< $(if $(findstring faiss,$@),-lfaiss -llapack -lblas -fopenmp) -lzstd -lpthread
bench-peers: $(BENCH_CXX)
bench: all $(BENCH_CXX)
	@BUILD='$(BUILD)' utils/bench/run.sh $(ARGS)

INSTALL_BIN  = $(DESTDIR)$(PREFIX)/bin
INSTALL_LIB  = $(DESTDIR)$(PREFIX)/lib
INSTALL_INC  = $(DESTDIR)$(PREFIX)/include/vecstore
INSTALL_CONF = $(DESTDIR)$(if $(filter /usr,$(PREFIX)),,$(PREFIX))/etc/vecstore
# The public header and what it includes.
PUBLIC_HEADERS = $(patsubst src/%,%,$(filter src/%.h,$(shell $(CC) -Isrc -MM -x c src/vecstore.h)))
install: all
	install -d $(INSTALL_BIN) $(INSTALL_LIB)/systemd/system $(INSTALL_LIB)/pkgconfig $(INSTALL_INC) $(INSTALL_CONF)
	install -m 755 $(BUILD)/vecstore-server $(BUILD)/vecstore-benchmark $(CHECKERS) $(INSTALL_BIN)
	install -m 644 $(BUILD)/libvecstore.a $(INSTALL_LIB)
	for h in $(PUBLIC_HEADERS); do install -D -m 644 src/$$h $(INSTALL_INC)/$$h || exit 1; done
	sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@VERSION@|$(VERSION)|g' -e 's|@LIBS@|$(strip $(ENGINE_LIBS))|g' utils/vecstore.pc.in \
	    > $(INSTALL_LIB)/pkgconfig/vecstore.pc
	test -e $(INSTALL_CONF)/vecstore.conf || install -m 640 vecstore.conf $(INSTALL_CONF)
	sed -e 's|@BIN@|$(PREFIX)/bin|g' -e 's|@CONF@|$(INSTALL_CONF:$(DESTDIR)%=%)|g' utils/vecstore.service \
	    > $(INSTALL_LIB)/systemd/system/vecstore.service

install-deps:
	deps/install.sh build tests

clean:
	rm -rf $(BUILD)

help:
	@echo 'make                 build everything: $(BUILD)/vecstore-server, $(BUILD)/vecstore-benchmark, $(BUILD)/libvecstore.a'
	@echo 'make run             build, then start the server on port 6379 (ARGS="--port 7000" for more)'
	@echo 'make test            all tests, sanitizer runs, checks and short fuzzing'
	@echo 'make test TESTS=x    only the test programs whose name contains x'
	@echo 'make drills          the drills of durability at full count (DRILL=drill_kill for one)'
	@echo 'make soak            three nodes under random commands, kills and failovers (SOAK_SECONDS=60 SOAK_WITH=expire,evict,threads)'
	@echo 'make bench           compare with hnswlib and faiss, and write the table of the README'
	@echo 'make debug           unoptimised build in $(BUILD)/debug'
	@echo 'make asan            AddressSanitizer and UBSan build in $(BUILD)/asan'
	@echo 'make tsan            ThreadSanitizer build in $(BUILD)/tsan'
	@echo 'make ubsan           UBSan build in $(BUILD)/ubsan'
	@echo 'make fuzz            fuzz every target for a minute (FUZZ=name FUZZ_SECONDS=n)'
	@echo 'make check           the order of layers, and the other checks of tests/check'
	@echo 'make docs            write docs/commands from the table of commands'
	@echo 'make install         into PREFIX=$(PREFIX) (DESTDIR is honoured)'
	@echo 'make install-deps    install what building and testing need (Debian)'
	@echo 'make clean           remove $(BUILD)'
	@echo
	@echo 'V=1 shows commands. BUILD=dir, CC=clang, CFLAGS=..., SAN=address|thread|undefined choose what is built, and where.'

FORCE:
.PHONY: all test test-programs programs-wanted debug asan tsan ubsan fuzz fuzz-build fuzz-programs check check-links run soak bench bench-peers \
        install install-deps clean help FORCE

-include $(shell test -d $(BUILD)/obj && find $(BUILD)/obj -name '*.d')
