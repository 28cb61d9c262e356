# The whole vocabulary is in `make help`. Every target sets up what it needs in .venv, from Python 3.11 or later, pip
# and a package index; what is set up already costs nothing. ARGS goes to the command behind a target:
#   make demo ARGS=--help      make test ARGS=tests/domain      make PYTHON=python3.12 test

VENV := .venv
BIN := $(VENV)/bin
# The first of these that is 3.11 or later; 3.13 late, since the Redis that the tests start has no wheel for it.
PYTHON ?= python3.12 python3.11 python3.13 python3
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE

# An environment whose interpreter has gone is made again, stamps and all.
$(shell [ -x $(BIN)/python ] || rm -rf $(VENV))

.PHONY: help demo test check bench format lock
.DELETE_ON_ERROR:

help:
	@echo 'make demo     see Homeostat at work on a year of flights'
	@echo 'make test     run the tests but those that take long: make test ARGS="-m slow" runs these'
	@echo 'make check    format, lint, types and layers, as CI checks them'
	@echo 'make bench    measure what the documentation claims'
	@echo 'make format   format the code and mend what the linter can mend'

demo: $(VENV)/.project
	@$(BIN)/homeostat demo $(ARGS)

test: $(VENV)/.lock
	$(BIN)/python -m pytest -n 2 -m 'not slow' $(ARGS)

check: $(VENV)/.lock
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m ruff check
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/.lock
	$(BIN)/python -m benchmarks $(ARGS)

format: $(VENV)/.lock
	$(BIN)/python -m ruff format
	$(BIN)/python -m ruff check --fix

# For maintainers, after a change of dependencies in pyproject.toml: resolve the lock files again, keeping the versions
# they name where they still fit (ARGS=--upgrade takes the newest). One universal resolution for every platform and
# Python from 3.11 on; run.txt and build.txt are cut from it, so that no version differs between them.
COMPILE = $(VENV)/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --custom-compile-command 'make lock'

lock: $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade --target $(VENV)/uv uv
	$(COMPILE) pyproject.toml --all-extras --group dev -o requirements/lock.txt $(ARGS)
	$(COMPILE) pyproject.toml --extra flights -c requirements/lock.txt -o requirements/run.txt $(ARGS)
	$(COMPILE) --group build -c requirements/lock.txt -o requirements/build.txt $(ARGS)
	$(COMPILE) --group mlflow -o requirements/mlflow.txt $(ARGS)
	$(COMPILE) --group torch -c requirements/mlflow.txt -o requirements/torch.txt $(ARGS)
	$(COMPILE) --group peers -c requirements/mlflow.txt -o requirements/peers.txt $(ARGS)
	$(COMPILE) --group figures -c requirements/lock.txt -o requirements/figures.txt $(ARGS)

# Set-up: the environment, then what runs Homeostat (demo), then what develops it (all else). Each step leaves a stamp.
# Everything comes from the lock files with its hash, the build tools too, hence --no-build-isolation.
INSTALL = $(BIN)/python -m pip install --no-deps --no-build-isolation --no-compile

# $(call install,FILE): install a lock file, counting the packages, and compile them on all cores rather than at first
# use. (Compiling fails on templates that some packages ship as .py; those are never imported.)
define install
@total=$$(grep -c '^[a-z].*==' $(1)); tty=0; if [ -t 1 ]; then tty=1; fi; \
echo "Installing $$total packages from $(1)"; \
{ $(INSTALL) --require-hashes -r $(1) 2>&1; echo "pip ended with $$?"; } | tee $(VENV)/install.log | \
awk -v total=$$total -v tty=$$tty ' \
	/^(Collecting|Ignoring|Requirement already satisfied:)/ { \
		count++; name = $$0; sub(/^(Requirement already satisfied: |[A-Z][a-z]+ )/, "", name); sub(/[^A-Za-z0-9_.-].*/, "", name); \
		if (tty) printf "\r  fetched %d of %d: %-32.32s", count, total, name; \
		else if (count % 25 == 0) printf "  fetched %d of %d\n", count, total; \
		fflush() } \
	/^Installing collected packages/ { if (tty) printf "\r  unpacking%50s", ""; else print "  unpacking"; fflush() } \
	/^pip ended with / { status = $$4 } \
	END { if (tty) printf "\r%60s\r", ""; exit status }' \
|| { tail -n 20 $(VENV)/install.log; echo "Installing $(1) failed: the whole log is in $(VENV)/install.log"; exit 1; }
@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >$(VENV)/compile.log 2>&1 || true
endef

# Without ensurepip (Debian's python3 lacks it until python3-venv is installed) the interpreter's own pip serves.
$(BIN)/python:
	@for python in $(PYTHON); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
		echo "Making $(VENV) with $$($$python --version)"; \
		$$python -m venv --clear $(VENV) >/dev/null 2>&1 && exit 0; \
		$$python -m venv --clear --without-pip $(VENV) && \
			$$python -m pip --python $@ install --quiet --require-hashes --no-deps -r requirements/build.txt && exit 0; \
		rm -rf $(VENV); \
		echo "$$python can make no virtual environment: install its venv or pip module (Debian: python3-venv)."; exit 1; \
	done; \
	echo "Homeostat needs Python 3.11 or later; tried: $(PYTHON). Name another with make PYTHON=/path/to/python."; exit 1

$(VENV)/.build: $(BIN)/python requirements/build.txt
	$(call install,requirements/build.txt)
	@touch $@

$(VENV)/.run: $(VENV)/.build requirements/run.txt
	$(call install,requirements/run.txt)
	@touch $@

$(VENV)/.project: $(VENV)/.run pyproject.toml
	@$(INSTALL) --quiet --editable .
	@touch $@

$(VENV)/.lock: $(VENV)/.run requirements/lock.txt | $(VENV)/.project
	$(call install,requirements/lock.txt)
	@touch $@
