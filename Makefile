# make lab        open JupyterLab on the tour
# make test       lint, test the library, execute the tour again and compare (about 15 minutes)
# make test-lessons   execute every lesson: stored outputs, other parameters, student versions (about 25 minutes)
# make reproduce  the papers' tables at small scale, into runs/reproduce/, with a report (7 minutes on 2 idle cores)
# The first call makes .venv and installs; later calls start at once. Another Python: make lab PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
# two tests at a time: most compute on one core
TWO := -n 2 --dist worksteal

.PHONY: lab test test-lessons reproduce clean

lab: $(VENV)/.lab
	$(VENV)/bin/mankit lab

test: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest $(TWO)

test-lessons: $(VENV)/.test
	$(VENV)/bin/python -m pytest $(TWO) -m lesson

reproduce: $(VENV)/.lab
	$(VENV)/bin/mankit reproduce all --profile quick --jobs 2

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "mankit needs Python 3.11 or newer, but '$(PYTHON)' is older or missing: try make PYTHON=python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.lab: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.lab

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
