# rta: every command a person needs. `make` lists them.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -e -o pipefail -c
.DELETE_ON_ERROR:
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ENV := $(VENV)/.complete
# Most JVMs of the tests live for less than a minute: Java's first compiler alone takes a third off the notebooks' time.
# With it Java keeps 48 MB for compiled code, too few for a session of a thousand tests: a thread would sweep all the time.
SHORT_LIVED := -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m
# Four at a time on two cores: half of what a test takes is waiting. The junit files have the seconds of each test.
PYTEST := SPARK_SUBMIT_OPTS="$(SHORT_LIVED)" $(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder --durations=15
# Where this is set, each of the hundred processes of the tests compiles what it imports: five seconds for Spark and pandas.
unexport PYTHONDONTWRITEBYTECODE
NOTEBOOKS := $(sort $(wildcard notebooks/*/*.ipynb))

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(ENV)  ## real flights through Kafka and Spark into a table and a report; again: only what is new
	@$(BIN)/rta doctor
	@$(BIN)/rta up
	@$(BIN)/rta publish flights --until 2013-12-01 --once
	@$(BIN)/rta run notebooks/1-foundations/03-run-flights-job.ipynb
	@$(BIN)/rta sql "SELECT origin, SUM(flights) AS flights, SUM(delay_minutes) AS delay_minutes FROM delays GROUP BY origin ORDER BY origin"
	@echo
	@echo "What next:"
	@echo "  $(BIN)/rta publish flights --from 2013-12-01   December arrives: then make demo takes exactly those flights"
	@echo "  make lab                                          see a stream move: open 1-foundations/00-watch-a-stream, and run it"
	@echo "  $(BIN)/rta jobs                                   the history of runs"
	@echo "Spark starts faster once its class-data archive is there, which the first session leaves behind: rta doctor says so"

test: $(ENV)  ## what proves it, but for the faults: style, types, laws, notebooks, README, docstrings
	@$(MAKE) --no-print-directory -j 2 -O lint archive  # each keeps one core busy
	@$(PYTEST) --ignore=tests/faults --junitxml=.make/tests.xml

faults: $(ENV)  ## the faults: brokers, drivers and kernels killed, networks broken, disks full; tests/faults/README.md lists them
	@$(MAKE) --no-print-directory archive
	@$(PYTEST) tests/faults --junitxml=.make/faults.xml

archive: $(ENV)
	@$(BIN)/rta archive  # half a minute once; each of the JVMs then takes 4 s less

soak: $(ENV)  ## what takes longer: repeated kills, a random schedule (SEED=…), ten minutes of load (SECONDS=…)
	@$(BIN)/pytest -q -m soak --durations=0 --timeout=3600 --session-timeout=36000

bench: $(ENV)  ## how fast, against the plain way in the same run; QUICK=1 for the main ratios in two minutes
	@$(BIN)/python -m bench $(if $(QUICK),--quick)

java: $(ENV)  ## compile rta's programs for Flink and Kafka Streams into the jar that is shipped; needs a JDK
	@$(BIN)/python -m tests.jvm.build_jar

docs: $(ENV)  ## build the docs site into docs/_build, offline, with warnings as errors
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --conf-dir docs --doctree-dir docs/_build/doctrees . docs/_build/html
	@echo "docs/_build/html/index.html"

lab: $(ENV)  ## JupyterLab on the notebooks, kernel ready, with a spare driver so that Spark starts at once
	@$(BIN)/rta up --spare > /dev/null || echo "it goes on without"
	@$(BIN)/jupyter lab --notebook-dir=notebooks

lint: $(ENV)  ## ruff, mypy, and which room imports which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

notebooks: $(ENV)  ## execute the notebooks again and keep their outputs
	@$(BIN)/python -m tests.notebooks.execute $(NOTEBOOKS)

env: $(ENV)  ## create the environment (.venv), pinned and checked by hash

$(ENV): requirements.lock build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found %d.%d: make PYTHON=python3.12 …" % sys.version_info[:2])'
	@echo "creating the environment in $(VENV): about 1.4 GB, one to three minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r build.lock
	@$(BIN)/pip install --disable-pip-version-check --no-compile --require-hashes --no-build-isolation -r requirements.lock -c requirements.lock \
		| awk '/^(Collecting|Building|Installing)/ { printf "\r\033[K%.100s", $$0; fflush() } END { print "" }'
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock: $(ENV)  ## pin the newest versions that pyproject.toml allows (needs uv)
	@uv pip compile pyproject.toml --extra test --extra docs --universal --python-version 3.11 --generate-hashes --no-header --upgrade -q -o requirements.lock
	@printf 'setuptools>=77\nwheel>=0.45\n' | uv pip compile - --universal --python-version 3.11 --generate-hashes --no-header --upgrade -q -o build.lock

down: $(ENV)  ## stop the embedded Apache Kafka
	@$(BIN)/rta down

clean: down  ## stop the broker and remove the environment; data under RTA_HOME stays
	@rm -rf $(VENV) docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help demo test faults archive soak bench java docs lab lint notebooks env lock down clean
