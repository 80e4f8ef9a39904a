# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv first, with a line a step; a second run finds
# it ready. What pip says, which on some machines is a hundred warnings, goes into .venv/setup.log.

PYTHON ?= python3
# As pyproject.toml says.
LEAST := 3.11
comma := ,
VENV := .venv
LOG := $(VENV)/setup.log
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
BUILD_TOOLS := setuptools wheel numpy ninja

# Slices are small: more threads than this only wait for each other.
export OMP_NUM_THREADS ?= 2

# $(call quietly,STEP,COMMAND): a line that says what is done; the end of what the command said only where it fails.
define quietly
@echo 'setting up $(VENV) ($(1)) ...'
@$(2) >$(LOG) 2>&1 || { status=$$?; grep -v '^WARNING: ' $(LOG) | tail -n 40; \
    echo 'setting up $(VENV) ($(1)) failed; all of what was said is in $(LOG)'; exit $$status; } >&2
endef

.PHONY: demo test acceptance sanitize race lint docs
.DELETE_ON_ERROR:

demo: $(VENV)/ready
	$(VENV)/bin/spectac demo -o demo-out

# A file of tests at a time per core, in the order that tests/conftest.py puts them in; a process that shares the cores does
# best with one thread.
test: OMP_NUM_THREADS = 1
test: $(VENV)/ready $(VENV)/nvcc-looked-for
	$(VENV)/bin/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# What a newcomer does, in a fresh clone of the committed state: set up, see the demo, pass the tests. Then what takes
# long: more than 2^31 elements, all GPU architectures, the kernels under sanitizers, a night's work (crash, fuzz, soak,
# Orthanc, Ray), the report in a browser, and the wheel in fresh environments of many versions. Figures are printed and
# put into bench/results/acceptance.md of the clone. Needs Debian's dcmtk, orthanc and chromium, and uv; what cannot run
# counts as failed.
acceptance:
	rm -rf build/acceptance
	git clone -q . build/acceptance
	$(MAKE) -C build/acceptance demo test docs
	$(MAKE) -C build/acceptance $(VENV)/ray-ready
	cd build/acceptance && $(VENV)/bin/pytest -m large -rs
	$(MAKE) -C build/acceptance race
	cd build/acceptance && $(VENV)/bin/python -m bench acceptance

# The CPU ops once more, instrumented, on every sample of every op: any overrun or undefined operation fails. The
# sanitizers' libraries must come first in a process that does not know of them; Python's own leaks are not ours, and its
# own compiler flags would let integers overflow.
SANITIZED := build/sanitize
SANITIZERS = $(shell $(CXX) -print-file-name=libasan.so):$(shell $(CXX) -print-file-name=libubsan.so)
CXX_LIBRARY = $(shell $(CXX) -print-file-name=libstdc++.so)

sanitize: $(VENV)/ready
	SPECTAC_FAST_CUDA=0 CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-wrapv -g" \
	    LDFLAGS="-fsanitize=address,undefined" $(VENV)/bin/python setup.py -q build_ext \
	    --build-lib $(SANITIZED) --build-temp $(SANITIZED)/objects
	LD_PRELOAD="$(SANITIZERS):$(CXX_LIBRARY)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	    $(VENV)/bin/python -m bench.speed.samples --extension $(SANITIZED)/spectac_fast

# The CUDA kernels, emulated on the CPU (tests/emulated), by ThreadSanitizer and by AddressSanitizer: a race between threads
# or blocks, a barrier that is not needed, an access beyond shared or global memory or an undefined operation fails.
RACE_REPORTS = $(CURDIR)/build/emulated/reports
RACE = OMP_NUM_THREADS=1 $(VENV)/bin/pytest -p no:cacheprovider tests/emulated tests/ops -k emulated

race: $(VENV)/ready
	LD_PRELOAD="$(shell $(CXX) -print-file-name=libtsan.so):$(CXX_LIBRARY)" SPECTAC_EMULATED=thread \
	    TSAN_OPTIONS=log_path=$(RACE_REPORTS):exitcode=0:suppress_equal_stacks=0:suppress_equal_addresses=0 $(RACE)
	LD_PRELOAD="$(SANITIZERS):$(CXX_LIBRARY)" SPECTAC_EMULATED=address UBSAN_OPTIONS=log_path=$(RACE_REPORTS)-undefined \
	    ASAN_OPTIONS=log_path=$(RACE_REPORTS):halt_on_error=0:detect_leaks=0 $(RACE)
	SPECTAC_EMULATED=unfused $(RACE)

# The site, from docs/ and the docstrings, into build/site; a link that leads nowhere fails.
docs: $(VENV)/docs-ready
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build -q -f docs/mkdocs.yml
	@echo "build/site/index.html"

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < ($(subst .,$(comma),$(LEAST))))' || { \
	    echo "PYTHON=$(PYTHON): expected Python $(LEAST) or newer, found $$($(PYTHON) -V 2>&1)."; exit 1; } >&2
	@mkdir -p $(VENV)
	$(call quietly,$(PYTHON),$(PYTHON) -m venv $(VENV))

# torch first and on its own: the extension is compiled against it, so no isolated build may bring another.
$(VENV)/build-tools: constraints.txt | $(VENV)/bin/python
	$(call quietly,torch,$(PIP) install -c constraints.txt torch)
	$(call quietly,build tools,$(PIP) install -c constraints.txt $(BUILD_TOOLS))
	@touch $@

$(VENV)/ready: $(VENV)/build-tools pyproject.toml setup.py $(shell find csrc -type f)
	$(call quietly,spectac_fast,$(PIP) install -c constraints.txt --no-build-isolation -e '.[test]')
	@touch $@

# 102 MB; without a CUDA compiler the tests that need one skip, so a machine that cannot fetch it passes all the same.
$(VENV)/nvcc-looked-for: $(VENV)/ready
	@PATH="$$PATH:$${CUDA_HOME:-/usr/local/cuda}/bin"; command -v nvcc >/dev/null || { \
	    echo 'setting up $(VENV) (nvcc) ...'; \
	    $(PIP) install -c constraints.txt 'spectac_fast[nvcc]' >>$(LOG) 2>&1 || \
	        echo 'there is no CUDA compiler, and none could be fetched: tests that compile for GPUs will skip'; }
	@touch $@

# docs, ray: the extra of that name too.
$(VENV)/%-ready: $(VENV)/ready
	$(call quietly,$*,$(PIP) install -c constraints.txt --no-build-isolation -e '.[$*]')
	@touch $@
