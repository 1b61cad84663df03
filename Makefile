# Ratchet on one machine. Every target includes what it needs; `make run` on a fresh clone is enough.
PYTHON ?= python3
UV := .venv/bin/uv
STAMP := .venv/.installed
SOURCES := bentos deployments expectations flows tasks

CLUSTER ?= ../shared/cluster

.PHONY: help install run demo demo-kubernetes test test-slow test-kubernetes bench bench-serving lint clean
.DEFAULT_GOAL := help

help:
	@echo "make run        everything on this machine: Prefect UI on :4200, endpoints from :3000 on; Ctrl-C stops it"
	@echo "make demo       the whole loop from an empty state, bounded; ends with a table and .ratchet/demo.json"
	@echo "make test       lint and tests        make test-slow  the long drills"
	@echo "make demo-kubernetes  the loop on a cluster: the one in $(CLUSTER), else that of KUBECONFIG"
	@echo "make test-kubernetes  that demo, then drills on what it leaves running"
	@echo "make bench      timings against named peers, printed as ratios      make bench-serving  the same for the endpoint"
	@echo "make install    only set up .venv     make clean      remove .venv and caches (not .ratchet)"

install: $(STAMP)
	@:

# Bytecode is compiled here once: without it every Prefect process starts about 2 s later.
$(STAMP): uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
		|| { echo "Ratchet needs Python 3.11 or 3.12, and '$(PYTHON)' is not; try: make install PYTHON=python3.11" >&2; exit 1; }
	@test -x .venv/bin/python || { $(PYTHON) -c 'import ensurepip' 2>/dev/null && $(PYTHON) -m venv .venv; } \
		|| { rm -rf .venv; echo "'$(PYTHON)' cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(UV) || { .venv/bin/python -m ensurepip >/dev/null && .venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'; }
	@VIRTUAL_ENV=$(CURDIR)/.venv $(UV) sync --frozen --compile-bytecode --quiet --python .venv/bin/python
	@touch $@

# exec: the shell must not stand between a signal and us. RATCHET_PARENT: a SIGINT to make alone is kept by make to itself.
run: $(STAMP)
	@exec env RATCHET_PARENT=$$PPID .venv/bin/ratchet up

demo: $(STAMP)
	@exec .venv/bin/ratchet demo

demo-kubernetes: $(STAMP)
	@exec env RATCHET_CLUSTER=$(CLUSTER) .venv/bin/python -m deployments.demo.kubernetes

lint: $(STAMP)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/interrogate --quiet $(SOURCES)

test: lint
	OMP_NUM_THREADS=1 .venv/bin/pytest -n 2 --durations=20 -m "not slow and not cluster"

test-slow: $(STAMP)
	OMP_NUM_THREADS=1 .venv/bin/pytest -m slow --ignore tests/bench

test-kubernetes: $(STAMP)
	OMP_NUM_THREADS=1 RATCHET_CLUSTER=$(CLUSTER) .venv/bin/pytest --durations=10 -m cluster

bench: $(STAMP)
	OMP_NUM_THREADS=1 .venv/bin/pytest -m slow -s tests/bench

bench-serving: $(STAMP)
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/serving

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.ratchet/*' -exec rm -rf {} +
