# make study [PARAMS=file] [ENGINE=vllm]   the whole study; a second time: nothing to do
# make setup [ENGINE=vllm]                 .venv from requirements/study.lock (or vllm.lock)
# make test                                lint, types and the whole test suite
# make doctor | status                     what this machine and this study still need

PYTHON ?= python3
PARAMS ?= params.yaml
ENGINE ?= transformers
BIN := .venv/bin

# Pure installs: everything a lock names, nothing it does not, and the project itself in place.
define install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/$(1).lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
endef

.PHONY: study setup test doctor status clean-env
.DELETE_ON_ERROR:

study: .venv/.study-$(ENGINE)
ifeq ($(ENGINE),transformers)
	@$(BIN)/rlscale study --params $(PARAMS)
else
	@$(BIN)/rlscale study --params $(PARAMS) --set train.engine=$(ENGINE) --set evaluate.engine=$(ENGINE) \
		--set study.name=$(ENGINE) --set study.data_root=data-$(ENGINE)
endif

setup: .venv/.study-$(ENGINE)

test: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

doctor status: .venv/.study-transformers
	@$(BIN)/rlscale $@

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/.study-transformers: requirements/study.lock pyproject.toml | .venv/bin/python
	$(call install,study)

.venv/.study-vllm: requirements/vllm.lock pyproject.toml | .venv/bin/python
	$(call install,vllm)

.venv/.test: requirements/test.lock pyproject.toml | .venv/bin/python
	$(call install,test)
	touch .venv/.study-transformers .venv/.study-vllm

clean-env:
	rm -rf .venv .prefect
