# `make demo` and `make test` need Python >= 3.10, its headers and gcc; everything else goes into .venv.
#   make demo      build, install, run benchmarks/demo.py: pictures, tables and charts in out/
#   make test      build, install, run the tests (PYTEST="-k gemm -x" passes options on; PYTEST="-m quick": a minute)
#   make lint      ruff, cython-lint, clang-format; and whether each of the places that `make mutate` breaks is there
#   make fuzz      FUZZ_CASES=10000 calls drawn a test and ISA, within FUZZ_SECONDS=3600: against truth, broken, files
#   make stress    what depends on chance, 50 times, and 100,000 calls
#   make sanitize  the kernels and nests under the sanitizers, and valgrind (clang, libomp-dev, valgrind; 15 minutes)
#   make other-cpus  on emulated CPUs (qemu-user, gcc-aarch64-linux-gnu; 10 minutes)
#   make mutate    break the library in each place of tools/mutations.py, in turn: a test must turn red
#   make package   sdist and wheel in dist/, each installed and tried in a fresh environment
#   make clean     remove all that make made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# Directories are there for files that go; __pycache__ and libraries built in place are not for pip.
SOURCES := setup.py pyproject.toml $(shell find csrc fastconv -not -name '*.so' -not -path '*__pycache__*')
CODE := fastconv tests benchmarks examples tools setup.py

unexport PYTHONPATH PYTHONHOME

.PHONY: demo test lint fuzz stress sanitize other-cpus mutate package clean

demo: $(VENV)/library $(VENV)/extra-bench
	$(BIN)/python benchmarks/demo.py --out out

# From tests/, so that `import fastconv` finds the installed library: in the checkout's root it would be the
# sources, with whatever was built in place there.
test: $(VENV)/library $(VENV)/extra-test
	cd tests && ../$(BIN)/python -m pytest $(PYTEST)

FUZZ_CASES ?= 10000
FUZZ_SECONDS ?= 3600

fuzz: $(VENV)/library $(VENV)/extra-test
	cd tests && FUZZ_CASES=$(FUZZ_CASES) FUZZ_SECONDS=$(FUZZ_SECONDS) ../$(BIN)/python -m pytest \
		test_mutated_calls.py test_parsers.py test_fuzz.py $(PYTEST)

stress: $(VENV)/library $(VENV)/extra-test
	cd tests && REPEAT=50 ../$(BIN)/python -m pytest -m repeated $(PYTEST)

lint: $(VENV)/extra-dev
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint fastconv
	$(BIN)/clang-format --dry-run -Werror $$(find csrc tests/drivers -name '*.[ch]')
	$(BIN)/python tools/mutate.py --check

# valgrind knows no AVX-512. Its suppressions are CPython's and the dynamic loader's.
sanitize: $(VENV)/library $(VENV)/extra-test
	$(BIN)/python tests/run_drivers.py native sanitized
	$(BIN)/python tools/thread_sanitizer.py
	cd tests && FASTCONV_ISA=avx2 PYTHONMALLOC=malloc OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=1 \
	valgrind --error-exitcode=9 --suppressions=valgrind-python.supp ../$(BIN)/python tour.py

other-cpus: $(VENV)/library $(VENV)/extra-test
	$(BIN)/python tools/other_cpus.py

mutate: $(VENV)/extra-test $(VENV)/extra-build-system
	$(BIN)/python tools/mutate.py

package: $(VENV)/extra-dev
	$(BIN)/python tools/package.py

clean:
	rm -rf $(VENV) build dist out *.egg-info .pytest_cache .ruff_cache .hypothesis tests/.hypothesis
	find fastconv tests benchmarks tools -name __pycache__ -prune -exec rm -rf {} +
	find fastconv -name '*.so' -delete

$(VENV)/library: $(SOURCES) | $(VENV)/made
	@echo "Compiling and installing fastconv into $(VENV) (two to four minutes on two cores)"
	$(PIP) install .
	@touch $@

$(VENV)/extra-%: pyproject.toml tools/extra.py | $(VENV)/made
	$(PIP) install $$($(BIN)/python tools/extra.py $*)
	@touch $@

$(VENV)/made:
	$(PYTHON) -m venv $(VENV)
	@touch $@
