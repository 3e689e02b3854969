# make            what can be made (these lines)
# make lab        open JupyterLab on the tour
# make test       lint, test the library, execute the tour again and compare (about 20 minutes)
# make test-lowest    the library and the command with the lowest versions that pyproject.toml allows (about 4 minutes)
# make test-lessons   execute the lessons again and compare; students' versions of all, in a browser (about 25 minutes)
# make reproduce  the papers' tables at small scale, into runs/reproduce/, with a report (8 minutes on 2 idle cores)
# make docs       the site into build/site/, with nothing loaded from elsewhere (about a minute)
# make lock       requirements.lock again, with the newest versions
# make address TO=owner/name    put this project's public address into every badge and link
# make clean      remove the environments and caches
# The first call makes .venv and installs; later calls start at once. Another Python: make lab PYTHON=python3.12
# The same versions for a whole class: make lab LOCK=requirements.lock

PYTHON ?= python3
LOCK ?=
# where this project is public, as pyproject.toml says it
HERE := $(shell sed -n 's,^Repository = "https://github.com/\([^"]*\)".*,\1,p' pyproject.toml)
VENV := .venv
LOWEST := .venv-lowest
# tests at a time on two cores: a lesson computes all the time, many others wait for a process or a page
TWO := -n 2 --dist worksteal
THREE := -n 3 --dist worksteal

# what meets every dependency, without a browser and without executing a lesson
PART := $(addprefix tests/test_, $(addsuffix .py, \
	oracles rules blocks networks training errors import project charts charts_pens images_batches images_draws \
	images_files images_glyphs images_load measure_accuracy measure_gradients measure_memory \
	measure_similarity studies_folder studies_recipe studies_record studies_run commands_settings own_rule panel))

# by uv, in a minute; where uv can't be had or doesn't find a package, by pip, in two. Compiled, as pip does it: where
# Python may not write bytecode (PYTHONDONTWRITEBYTECODE, as in many images) each process would compile torch anew
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
UV := $(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(VENV)/bin/python
INSTALL = { $(PIP) uv && $(UV) -e '.[$(WITH)]' $(LOCK:%=-c %); } || $(PIP) -e '.[$(WITH)]' $(LOCK:%=-c %)

.PHONY: help lab test test-lowest test-lessons reproduce docs lock address clean

help:
	@sed -n 's/^# \(make.*\)/\1/p' Makefile

lab: $(VENV)/.lab
	$(VENV)/bin/mankit lab

test: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest $(THREE)

test-lowest: $(LOWEST)/.test
	$(LOWEST)/bin/ruff check .
	$(LOWEST)/bin/python -m pytest $(THREE) $(PART)

test-lessons: $(VENV)/.test
	$(VENV)/bin/python -m pytest $(TWO) -m 'lesson and not slow'

reproduce: $(VENV)/.lab
	$(VENV)/bin/mankit reproduce all --profile quick --jobs 2

docs: $(VENV)/.test
	$(VENV)/bin/python -m sphinx -q -W --keep-going -c docs -d build/doctrees . build/site
	@echo build/site/index.html

$(VENV)/bin/python $(LOWEST)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "mankit needs Python 3.11 or newer, but '$(PYTHON)' is older or missing: try make PYTHON=python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(@D:/bin=) || { rm -rf $(@D:/bin=); exit 1; }

$(VENV)/.lab: WITH = lab
$(VENV)/.lab: pyproject.toml | $(VENV)/bin/python
	$(INSTALL)
	@touch $@

$(VENV)/.test: WITH = lab,test,docs
$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(INSTALL)
	@touch $@ $(VENV)/.lab

# pip can't be asked for lowest versions; uv can
$(LOWEST)/.test: pyproject.toml | $(LOWEST)/bin/python
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --quiet --compile-bytecode --python $(LOWEST)/bin/python --resolution lowest-direct -e '.[lab,test]'
	@touch $@

# the newest versions of all that `make lab` installs, for every system and Python that is allowed
lock: $(VENV)/.lab
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)/bin/uv pip compile --quiet --universal --extra lab --no-annotate --custom-compile-command "make lock" \
		--default-index https://pypi.org/simple --upgrade -o requirements.lock pyproject.toml

address:
	@echo '$(TO)' | grep -Eq '^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$$' || { echo "make address TO=owner/name" >&2; exit 1; }
	git grep -lzF '$(HERE)' | xargs -0 perl -pi -e 's{\Q$(HERE)\E}{$(TO)}g'

clean:
	rm -rf $(VENV) $(LOWEST) .pytest_cache .ruff_cache .hypothesis
