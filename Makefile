# Two commands for a fresh machine: `make demo` and `make test`. Both build .venv first.
PYTHON ?= python3
BIN := .venv/bin
# tests/conftest.py says which tests stay together
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder
# dozens of processes import the same libraries: the first one keeps their bytecode
unexport PYTHONDONTWRITEBYTECODE
.PHONY: demo test interpreted coverage check docs reproduce bench clean kernels

demo: .venv/runtime kernels
	$(BIN)/sysgym demo --output demo

test: .venv/dev kernels
	$(PYTEST)

interpreted: .venv/dev   # small instances of every kernel without the compiler, which hides what runs out of an array
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest tests/uncompiled

# Lines of sysgym/ that ran: all tests as they are, and kernels on small instances by the interpreter, since the compiler
# leaves no trace of its lines. LESS=1 takes the second part alone.
coverage: .venv/dev kernels
	$(BIN)/coverage erase
	$(if $(LESS),,$(PYTEST) --cov --cov-report= --cov-fail-under=0)
	NUMBA_DISABLE_JIT=1 $(PYTEST) tests/uncompiled --cov --cov-append --cov-report= --cov-fail-under=0
	$(BIN)/coverage report --skip-covered --sort=miss $(if $(LESS),--fail-under=0)

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/docs kernels   # every tutorial runs while it is built; a warning is an error; -j 8 spreads the tutorials
	$(BIN)/python -m sphinx -j 8 -W --keep-going -q -b html docs docs/_build/html

reproduce: .venv/dev kernels   # published numbers beside ours; what has a record is kept, RESUME=--no-resume measures anew
	$(BIN)/sysgym reproduce --jobs 2 --output docs/reproduction.md $(RESUME)

bench: .venv/dev kernels
	$(BIN)/python -m tests.ratios

clean:
	rm -rf .venv demo docs/_build docs/environments

# The virtual environment, with what `demo` needs, and with the tools of development on top.
.venv/runtime: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/dev: .venv/runtime
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.venv/docs: .venv/runtime
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# What CI needs, in one installation; what is never imported is not compiled either.
.venv/all: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	touch .venv/runtime .venv/dev .venv/docs $@

# numba's cache watches only the file of a kernel itself: drop what was compiled before the newest change of any file.
kernels:
	@$(PYTHON) -c "from pathlib import Path; room = Path('sysgym'); newest = max(f.stat().st_mtime for f in room.rglob('*.py')); \
	[f.unlink() for f in room.rglob('*.nb?') if f.stat().st_mtime < newest]"
