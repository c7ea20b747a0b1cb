# make demo    run the demo sweep (results/demo) and write its report
# make test    the tests
# make check   style, types, the import floors
# make fuzz    a million damaged files for the readers of files (INPUTS=1000000; some 10 minutes)
# make histories  ten thousand random histories of a sweep in a simulated pool (HISTORIES=10000; some 20 minutes of CPU)
# make soak    the tests that take minutes, then sweeps on three Ray nodes of which one is killed each minute (MINUTES=30)
# make gpu     the tests that need a CUDA device
# make audit   known vulnerabilities of what is installed, from databases or else from docs/audit.json
# Each sets up .venv first: Python 3.11+ and make are all that a machine needs.

PYTHON ?= python3
BIN := .venv/bin

# uv does not read pip's settings. Hand on where this machine keeps wheels (pip's find-links), such as a
# CPU build of torch. TORCH_BACKEND=cpu (or auto, cu128, ...) asks PyTorch's own index instead; so does a
# Linux machine without an NVIDIA driver, for the CPU build, if that index answers (.ci/torch_backend.py).
FIND_LINKS = $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
TORCH_BACKEND ?=

# uv trusts what the system trusts, as pip does: a network with certificates of its own needs no setting.
export UV_NATIVE_TLS ?= true
export UV_SYSTEM_CERTS ?= true

# One thread per process: the workers are processes, and two threads on a busy core are slower than one.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check fuzz histories soak gpu audit docs constraints

.venv/.ready: pyproject.toml constraints.txt
	@echo "Setting up .venv (Python packages pinned in constraints.txt) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@flags=$$(TORCH_BACKEND="$(TORCH_BACKEND)" FIND_LINKS="$(FIND_LINKS)" $(PYTHON) .ci/torch_backend.py) && \
		UV_FIND_LINKS="$(FIND_LINKS)" $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $$flags \
		--constraints constraints.txt --editable ".[dev]"
	@touch $@

demo: .venv/.ready
	@echo "Running the demo sweep: 16 nets of 4 widths on digits, all ordered pairs grafted."
	@$(BIN)/espalier run results/demo
	@$(BIN)/espalier report results/demo

test: .venv/.ready
	@echo "Running the tests."
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: .venv/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports

INPUTS ?= 1000000
fuzz: .venv/.ready
	@$(BIN)/python -m tests.fuzz.campaign --inputs $(INPUTS) --output docs/fuzz.json

HISTORIES ?= 10000
histories: .venv/.ready
	@$(BIN)/python -m tests.histories.many_histories --histories $(HISTORIES) --output docs/histories.json

MINUTES ?= 30
soak: .venv/.ready
	@$(BIN)/python -m pytest -q -m soak tests/integration
	@$(BIN)/python -m tests.soak.three_nodes --minutes $(MINUTES) --output benchmarks/results/soak.json

gpu: .venv/.ready
	@$(BIN)/python -m pytest -q -m gpu tests/gpu

audit: .venv/.ready
	@$(BIN)/python .ci/audit.py

docs: .venv/.ready
	@$(BIN)/python -c "import espalier.orchestrator.planning.kinds.registry; from espalier.tasks.tables.page import page; print(page(), end='')" > docs/tables.md

# The resolved versions alone, for every platform; no index is recorded.
constraints: .venv/.ready
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-emit-index-url \
		--no-header --no-annotate --output-file constraints.txt
