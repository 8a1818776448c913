# Every target does its own set-up: it needs Python 3.11 or later, make and a package index.

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
BENCH := bench/.venv

.DEFAULT_GOAL := help
.PHONY: help demo test test-long lint types bench docs clean

help:
	@echo "make demo    train a small network, explain 16 digits with every method, write demo/report.html"
	@echo "make test    the test suite, in less than 15 minutes on two cores"
	@echo "make test-long  what is marked long: simulations of coverage, more random situations"
	@echo "make lint    ruff: style and order"
	@echo "make types   mypy: strict on src"
	@echo "make bench   side by side with other libraries, in an environment of its own (see bench/README.md)"
	@echo "make docs    write the generated pages docs/methods.md and docs/names.md, and the picture of the README"
	@echo "make clean   remove the environment and what tools left behind"

# torch comes first and by itself: where the index or a local folder has a CPU build, that build is taken and kept.
$(READY): pyproject.toml constraints.txt zoo/pyproject.toml
	@python=""; \
	for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Expected Python 3.11 or later on the path, found none. Install it, or say where it is: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if [ ! -x $(PY) ] || ! $(PY) -m pip --version >/dev/null 2>&1; then \
	  "$$python" -m venv --clear $(VENV) || { \
	    echo "Expected $$python to make environments; on Debian and Ubuntu that is the package python3-venv." >&2; exit 1; }; \
	fi
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]' -e ./zoo
	@touch $(READY)

demo: $(READY)
	$(PY) -m assay demo --out demo/report.html

# Each worker begins with one half of the files, so that what a file prepares is prepared once.
test: $(READY)
	$(PY) -m pytest -n 2 --dist worksteal -m "not long"

test-long: $(READY)
	$(PY) -m pytest -n 2 --dist worksteal -m long

lint: $(READY)
	$(PY) -m ruff check .

types: $(READY)
	$(PY) -m mypy

docs: $(READY)
	$(PY) -m assay methods --markdown > docs/methods.md
	$(PY) -m assay names --markdown > docs/names.md
	$(PY) -m assay axioms --markdown > docs/axioms.md
	$(PY) -c "import sys; from assay.registry.tables import completion; sys.stdout.write(completion())" > names.json
	mv names.json src/assay/cli/names.json
	$(PY) -m assay demo --picture docs/digits.png --quiet

bench: $(BENCH)/.ready
	$(BENCH)/bin/python bench/harness.py

# The peers have needs of their own, and so an environment of their own.
$(BENCH)/.ready: $(READY) bench/requirements.txt bench/requirements-no-deps.txt
	$(PY) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r bench/requirements-no-deps.txt
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -e . -e ./zoo
	@touch $(BENCH)/.ready

clean:
	rm -rf $(VENV) bench/.venv build src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
