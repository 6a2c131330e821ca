# SPDX-License-Identifier: Apache-2.0
# The front of the house: each target installs what it needs (tools/bootstrap),
# builds with meson and ninja in build/, and runs. BUILD=dir builds elsewhere.
BUILD ?= build
SECONDS_EACH ?= 30

.PHONY: all coverage demo test test-faults test-model test-journal bench figures test-inside fuzz fuzz-long sanitize clean help

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

help:
	@echo 'make            build everything in $(BUILD)/'
	@echo 'make demo       the main job: an SLA violation sets a p-state, live (DEMO_SECONDS=N)'
	@echo 'make test       every test whose parts this machine has'
	@echo 'make test-model larger models of ring and waking than make test has (minutes, 4 GB)'
	@echo 'make test-faults 2,000 made-up scenarios of faults, and planted bugs that they must find'
	@echo 'make test-death 1,000 kills of each end, over shm and unix (two minutes)'
	@echo 'make test-journal a journal damaged at every bit (20 minutes)'
	@echo 'make test-inside every N-th allocation, write and call fails, none left out (hours)'
	@echo 'make test-hostile 10^8 hostile writes into shared memory, 10^6 frames, libqb beside (15 minutes)'
	@echo 'make test-load  1,000 channels for 12 minutes: all is heard, nothing grows (LOAD=...)'
	@echo 'make bench      our figures beside their peers, into $(BUILD)/bench.json (NAMES=..., QUICK=1)'
	@echo 'make sanitize   all tests under ASan+UBSan, threads under TSan'
	@echo 'make fuzz       every decoder for SECONDS_EACH=30 seconds'
	@echo 'make fuzz-long  every decoder to its goal of executions, resumable, into $(BUILD)/fuzz.json'
	@echo 'make coverage   branches that no test takes, by room, into build/coverage.json'
	@echo 'make figures    comes with the power policies: says so and fails'

$(BUILD)/build.ninja:
	@tools/bootstrap
	@meson setup $(BUILD) >$(BUILD).log 2>&1 || { cat $(BUILD).log; rm -f $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

demo:
	@tools/bootstrap --demo
	@$(MAKE) --no-print-directory all
	@python3 demo/run.py --build $(BUILD)

test:
	@tools/bootstrap --test
	@$(MAKE) --no-print-directory all
	@tools/run-tests $(BUILD)

test-model:
	@tools/bootstrap --test
	@python3 tests/model/check.py --deep $(BUILD)/model

test-faults:
	@tools/bootstrap --test
	@$(MAKE) --no-print-directory all
	@tools/test-faults $(BUILD)

# Long runs of two tests; each writes a file beside bench.json.
test-death:
	@tools/bootstrap --test
	@$(MAKE) --no-print-directory all
	@$(BUILD)/tests/death/kills --kills 1000 --json $(BUILD)/death.json

test-journal:
	@tools/bootstrap --test
	@$(MAKE) --no-print-directory all
	@$(BUILD)/tests/unit/broker/unit_broker_journal_damage --all

# Each allocation, write and other call fails once, and then all after it; in pieces of
# the programs, and in the programs as they are.
test-inside:
	@tools/bootstrap --test
	@$(MAKE) --no-print-directory all
	@$(BUILD)/tests/inside/inside --all
	@python3 tests/inside/real.py --build $(BUILD) --all

test-hostile:
	@tools/bootstrap --test
	@$(MAKE) --no-print-directory all
	@python3 tests/hostile/run.py --build $(BUILD)

# 1,000 channels for ten minutes, after a warm-up of less than one.
test-load:
	@tools/bootstrap --test
	@$(MAKE) --no-print-directory all
	@python3 tests/load/run.py --build $(BUILD) $(LOAD)

bench:
	@tools/bootstrap --bench
	@$(MAKE) --no-print-directory all
	@python3 bench/run.py --build $(BUILD) $(if $(QUICK),--quick) $(if $(SHIELD),--shield) $(NAMES)

# Two builds: address and undefined behaviour over everything; threads over
# what has them.
sanitize:
	@tools/bootstrap --test
	@[ -e $(BUILD)-asan/build.ninja ] || meson setup $(BUILD)-asan -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C $(BUILD)-asan
	@tools/run-tests $(BUILD)-asan
	@[ -e $(BUILD)-tsan/build.ninja ] || meson setup $(BUILD)-tsan -Db_sanitize=thread -Db_lundef=false >/dev/null
	@ninja -C $(BUILD)-tsan
	@tools/run-tests $(BUILD)-tsan --threads

fuzz:
	@tools/bootstrap --test
	@tools/fuzz $(SECONDS_EACH)

# Hours; what was done is kept in build-fuzz-long, also by make clean.
fuzz-long:
	@tools/bootstrap --test
	@tools/fuzz --long --json $(BUILD)/fuzz.json $(NAMES)

# All tests of a build that counts; twice as long as make test.
coverage:
	@tools/bootstrap --test
	@tools/coverage --build $(BUILD)-cov

figures:
	@echo 'make figures: there are no figures yet; they come with the Richer and' >&2
	@echo 'Utilization-based policies. make demo compares No PM and Basic.' >&2
	@exit 1

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-cov $(BUILD)-tsan $(BUILD)-fuzz
