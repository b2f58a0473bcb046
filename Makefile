# make run: installs into .venv and runs the main job. make test: installs and runs the tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-all mutants lint format bench papers reference docs wheel clean

run: .venv/installed
	$(BIN)/expand run x3d_stepwise

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "heavy or not heavy"

mutants: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutate.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/installed
	$(BIN)/python benchmarks/cost.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/plan.py --paper
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/dashboard.py

papers: .venv/installed
	$(BIN)/expand cost --papers --to docs/papers.md

reference: .venv/installed
	$(BIN)/python docs/reference.py

# The site goes to build/site; its search needs it served: python3 -m http.server --bind 127.0.0.1 --directory build/site
docs: reference .venv/docs
	$(BIN)/mkdocs build --strict

wheel: .venv/installed
	$(BIN)/python -m build --wheel

# torch first and alone: its pin also keeps other packages from asking for another build of it.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
