# make train | make test | make help. The logic lives in tools/setup_env.py and tools/train_and_show.py.

CONFIG ?= configs/shapes/mask_rcnn_vitadapter_xs.py
ARGS ?=
# TORCH=oldest: an environment of its own, with the oldest torch that is supported
TORCH ?= newest
ifeq ($(TORCH),newest)
VENV := .venv
else ifeq ($(TORCH),oldest)
VENV := .venv-oldest
PINS := --pins requirements-oldest.txt
else
$(error TORCH=$(TORCH) is not known. Mend: TORCH=newest or TORCH=oldest)
endif
RUN := $(VENV)/bin/python

# The interpreter the environment is made with: PYTHON=..., else the one it was made with, else the
# first that fits.
ifndef PYTHON
PYTHON := $(firstword $(foreach p,$(RUN) python3.12 python3.11 python3,$(shell \
  $(p) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $(p))))
endif

TEST_JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help env config train test test-all lint docs clean clean-env

help:
	@echo 'make train     set up, train the quick start, evaluate it, draw pictures and curves (15 minutes on 2 cores)'
	@echo '               CONFIG=configs/...py  another config'
	@echo "               ARGS='...'            further arguments of tools/train.py, e.g. --data-root"
	@echo 'make test      set up, lint, fast tests; TEST_JOBS=4 runs them in four processes (default: 2)'
	@echo 'make test-all  set up, lint, all tests, the slow ones included (20 minutes on 2 cores)'
	@echo 'make env       set up only: .venv with everything pinned (first time: some minutes);'
	@echo '               PYTHON=python3.12 chooses the interpreter, MMCV_OPS=compiled compiles'
	@echo "               mmcv's own operators (10 minutes more)"
	@echo '               TORCH=oldest, also for the targets above: .venv-oldest with torch 2.11'
	@echo 'make lint      ruff, rules and format'
	@echo 'make docs      the site: site/index.html'
	@echo 'make clean     remove caches and what was built; data/, work_dirs/ and .venv stay'
	@echo 'make clean-env remove .venv; with TORCH=oldest .venv-oldest'

env:
	@'$(PYTHON)' -c '' >/dev/null 2>&1 || { \
	  echo '[make] FAILED: no Python 3.11 or 3.12 found$(if $(PYTHON), under the name $(PYTHON)).' \
	    'Mend: install one and name it, as in: make env PYTHON=/path/to/python3.12' >&2; exit 1; }
	@MMCV_OPS='$(MMCV_OPS)' '$(PYTHON)' tools/setup_env.py --venv $(VENV) $(PINS)

train: config env
	@$(RUN) tools/train_and_show.py '$(CONFIG)' $(ARGS)

config:
	@'$(PYTHON)' vitadapter_cli/config_files.py '$(CONFIG)'

lint: env
	@echo '[make] lint (some seconds)'
	@$(RUN) -m ruff check . || { echo '[make] Mend: ruff check --fix . does what it can' >&2; exit 1; }
	@$(RUN) -m ruff format --check . || { echo '[make] Mend: ruff format .' >&2; exit 1; }

test: lint
	@echo '[make] fast tests (some minutes)'
	@$(RUN) -m pytest -n $(TEST_JOBS) --dist loadfile -m 'not slow'

test-all: lint
	@echo '[make] all tests, the slow ones included (20 minutes on 2 cores)'
	@$(RUN) -m pytest -n $(TEST_JOBS) --dist loadfile

docs: env
	@echo '[make] site (some seconds)'
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build  # the variable: no advertisement of other generators
	@echo '[make] site/index.html'

clean:
	@rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo '[make] caches and build folders removed'

clean-env:
	@rm -rf $(VENV) $(VENV).lock
	@echo '[make] $(VENV) removed; make env makes it anew'
