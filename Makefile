# Two commands: `make demo` and `make test`. Each sets up what it needs.
#
# TORCH names the build of torch; on a machine without a GPU any CPU build of this version will do, for example
# make test PIP_EXTRA="--extra-index-url https://download.pytorch.org/whl/cpu" TORCH="torch==2.13.0+cpu"
# torchvision comes without its dependencies, so that it never replaces torch (see docs/install.md).

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCHVISION ?= torchvision==0.28.0
TORCHVISION_LOWEST ?= torchvision==0.24.1
PIP_EXTRA ?=
# What was tested; CONSTRAINTS= (empty) takes the newest of everything.
CONSTRAINTS ?= constraints.txt
PYTHONS ?= 3.12 3.13
WORKERS ?= 2
OUT ?= out/demo
CONFIG ?= quick
BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/pip install --quiet $(PIP_EXTRA) $(addprefix --constraint ,$(CONSTRAINTS))
READY := $(VENV)/.ready

# Idle OpenMP threads that spin instead of sleeping made a training step 20 times slower on shared cores.
export OMP_WAIT_POLICY := PASSIVE
export TOKENIZERS_PARALLELISM := false
export TORCH PIP_EXTRA  # for the tests that make environments of their own

.PHONY: help setup demo demo-eval test quality tests check-full exact resolve pythons lowest bench miniature docs clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## make the environment in .venv

$(READY): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) "$(TORCH)"
	$(PIP) --editable ".[dev]" "$(TORCH)"
	$(PIP) --no-deps "$(TORCHVISION)"
	touch $@

demo: $(READY) ## render a room, ask three questions about it, draw what the model sees
	PATH="$(BIN):$$PATH" bash examples/demo.sh $(OUT)

demo-eval: $(READY) ## ask the shipped models the questions of every benchmark, about rooms; ends with a report
	PATH="$(BIN):$$PATH" bash examples/demo_eval.sh out/demo-eval

test: quality tests ## everything that has to hold (what CI runs)

quality: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tests: $(READY)
	$(BIN)/python -m pytest -m "not full" -n $(WORKERS) --dist worksteal

check-full: test ## also the long forms of the tests
	$(BIN)/python -m pytest -m full -n $(WORKERS) --dist worksteal
	$(MAKE) exact resolve pythons docs

exact: $(READY) ## the bit-equality tests under every instruction set and number of threads
	$(BIN)/python -m tests.exact_matrix -n $(WORKERS) --dist worksteal

resolve: $(READY) ## does vega3d install beside the newest of its neighbours? (installs nothing)
	$(BIN)/pip install $(PIP_EXTRA) --quiet --dry-run --ignore-installed . gradio trl datasets lmms-eval
	$(BIN)/pip install $(PIP_EXTRA) --quiet --dry-run --ignore-installed ".[all]" "$(TORCH)"

pythons: ## run the tests on Python 3.12 and 3.13, each in an environment of its own, where an interpreter is there
	@for version in $(PYTHONS); do \
	  if python$$version -c "" 2>/dev/null; then \
	    $(MAKE) tests PYTHON=python$$version VENV=$(VENV)-$$version || exit 1; \
	  else echo "python$$version is not here: its tests were not run"; fi; \
	done

lowest: ## run the tests with the lowest version of every direct dependency, in an environment of its own
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/pip install --quiet uv
	$(VENV)-lowest/bin/uv pip compile --quiet --resolution lowest-direct --extra dev pyproject.toml \
	  --output-file $(VENV)-lowest/lowest.txt
	$(VENV)-lowest/bin/pip install --quiet $(PIP_EXTRA) --requirement $(VENV)-lowest/lowest.txt
	$(VENV)-lowest/bin/pip install --quiet --no-deps $(TORCHVISION_LOWEST)
	$(VENV)-lowest/bin/python -m pytest -m "not full" -n $(WORKERS) --dist worksteal

bench: $(READY) ## time every step from a video to an answer
	$(BIN)/python benchmarks/steps.py

miniature: $(READY) ## does it work? CONFIG=quick, cpu, where or gpu; goes on where it stopped
	$(BIN)/python -m experiments.miniature run $(CONFIG)

docs: $(READY) ## build the documentation into site/
	$(BIN)/mkdocs build --strict

clean: ## remove the environment and everything that was made
	rm -rf $(VENV) $(VENV)-lowest $(addprefix $(VENV)-,$(PYTHONS)) out site build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
