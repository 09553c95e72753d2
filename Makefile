# make demo   everything from nothing to a recommendation, on this machine, without a GPU
# make test   all checks and tests
# make check  the checks of a minute: style, types of the packages, layers, docs: part of `make test`
# make docs   the documentation as a site, in site/
# make types  mypy over packages, benchmarks and tests: part of `make test`
# make wheel-test  what users get: the wheel, in an environment that has only what it declares
# make mutants  faults put into the code on purpose: do the tests notice? (docs/tests.md)
# make chaos  a study under every fault, twenty times each: two to three hours, goes on where it was interrupted
# make install sets up .venv and nothing else
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# A pip.conf may ask for installations for the user, which no environment of its own can have.
export PIP_USER := 0
# Nothing is compiled when it is installed, so that Python must keep what it compiles when it is first imported: else every
# process, each replica's too, compiles Ray and torch again (ray.serve 3.0 s instead of 1.1, torch 3.1 instead of 1.2).
export PYTHONDONTWRITEBYTECODE :=
# On Linux the plain wheel of torch brings several GB of CUDA. The CPU build is asked for first; a machine that
# cannot reach this index takes what it is offered elsewhere. For GPUs: make install TORCH_INDEX=https://download.pytorch.org/whl/cu130
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

WHEEL := $(VENV)/from-wheel
CODE  := raytune_infer searchers serve_deployments cluster

.PHONY: install demo docs check types declared test wheel wheel-test mutants chaos clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	# --no-compile: most of what comes along is never imported, and what is compiles itself the first time.
	$(BIN)/pip install -q --no-compile --retries 1 --extra-index-url $(TORCH_INDEX) -c constraints.txt torch
	$(BIN)/pip install -q --no-compile --prefer-binary -c constraints.txt -e '.[dev]'
	@touch $@

demo: install
	$(BIN)/raytune-infer tune examples/minilm.yaml --seed 0

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

check: install docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

types: install
	$(BIN)/mypy
	$(BIN)/mypy docs/plugins/*.py
	$(BIN)/mypy --config-file tests/mypy.ini tests

declared: install
	$(BIN)/deptry $(CODE) benchmarks
	# Tests import one another and what extras bring; what they import must be declared all the same.
	$(BIN)/deptry tests --exclude '\.venv' --ignore DEP001,DEP002,DEP004

test: install
	# Those that use Ray mostly wait, so their two parts, each with a cluster of its own, run beside those that compute.
	# These yield, as Ray must be up within 30 s (its own bound) and what is measured is not to wait for them. -n 1: a test
	# that runs into its limit takes its process along; the others go on in the next one.
	# OMP_NUM_THREADS: threads of BLAS and torch that find no core wait for one another in loops: four times the CPU time.
	@nice -n 19 $(MAKE) --no-print-directory check types declared > $(VENV)/tests-checks.log 2>&1 & checks=$$!; \
	$(MAKE) --no-print-directory $(VENV)/.compiled; \
	OMP_NUM_THREADS=1 nice -n 19 $(BIN)/pytest -m "not ray and not slow" -n 2 --dist worksteal > $(VENV)/tests-computing.log 2>&1 & computing=$$!; \
	$(BIN)/pytest -m "ray and not slow" --part others -n 1 > $(VENV)/tests-others.log 2>&1 & others=$$!; \
	$(BIN)/pytest -m "ray and not slow" --part studies -n 1; studies=$$?; \
	wait $$others; others=$$?; cat $(VENV)/tests-others.log; \
	wait $$computing; computing=$$?; cat $(VENV)/tests-computing.log; \
	wait $$checks; checks=$$?; cat $(VENV)/tests-checks.log; \
	test $$checks -eq 0 -a $$studies -eq 0 -a $$others -eq 0 -a $$computing -eq 0

# What is imported first is compiled then. Four processes that begin at once would each compile all of it.
$(VENV)/.compiled: $(VENV)/.installed
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --collect-only > /dev/null && touch $@

# Nothing of .venv is visible in it: a file that the wheel lacks, or an import that nobody declared, ends the study there.
# It is built anew each time: whatever would have to be compared to know better is more than that takes.
wheel: $(WHEEL)/.installed
	rm -rf build $(WHEEL)/dist
	$(BIN)/pip wheel -q --no-deps -w $(WHEEL)/dist .
	$(WHEEL)/bin/pip install -q --no-compile --prefer-binary -c constraints.txt $(WHEEL)/dist/*.whl
	$(WHEEL)/bin/pip install -q --no-compile --no-deps --force-reinstall $(WHEEL)/dist/*.whl

$(WHEEL)/.installed: $(VENV)/.installed
	rm -rf $(WHEEL)
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/pip install -q --no-compile --retries 1 --extra-index-url $(TORCH_INDEX) -c constraints.txt torch
	@touch $@

wheel-test: wheel
	VENV="$(CURDIR)/$(WHEEL)" tests/wheel/tune_from_wheel

mutants: install
	PYTHONPATH=. $(BIN)/python -m tests.mutants

chaos: install
	$(BIN)/pytest -m slow
	$(BIN)/python -m benchmarks chaos

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info site
