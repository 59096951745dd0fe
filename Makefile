# Every target sets up what it needs. `make report` is the main one.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROFILE ?= nightly
BIOME := @biomejs/biome@2.6.8
# Engines of a report at the same time; each takes 2 to 4 GB of memory with its references.
JOBS ?= 2
# Engines that run at the same time on a GPU; several GPUs are taken in turn.
ENGINES ?= 3

# Hundreds of processes start here: Python keeps what it has compiled, also where the environment says otherwise.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup setup-cluster lock check report test test-slow mutants soak bench nightly nightly-gpu gpu bench-gpu clean

setup: $(STAMP)

# torch is pip's, which finds the CPU build wherever an index or a folder of wheels is configured; the rest is uv's. Where no
# folder or index has torchvision built for a CPU, the .pth file makes it importable here, as it is in every driver.
$(STAMP): pyproject.toml requirements/cpu.lock
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $$(grep -E '^(uv|setuptools)==' requirements/cpu.lock)
	$(BIN)/python -m pip install --quiet --no-deps $$(grep '^torch==' requirements/cpu.lock)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --requirement requirements/cpu.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	echo "$(CURDIR)/harness/drivers/site" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/harness-drivers.pth"
	touch $@

# After a change of the dependencies in pyproject.toml, or to take newer releases.
lock:
	rm -rf .cache/lock && $(PYTHON) -m venv .cache/lock
	.cache/lock/bin/python -m pip install --quiet --upgrade pip
	.cache/lock/bin/python requirements/lock.py cpu,test,check requirements/cpu.lock
	rm -rf .cache/lock

report: $(STAMP)
	$(BIN)/harness report --official --jobs $(JOBS) --out reports/latest

# Ruff, mypy, the import contracts, and a linter for the page's JavaScript.
check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/npx --yes $(BIOME) lint --error-on-warnings harness/report/templates

test: $(STAMP)
	$(BIN)/python -m pytest -m "not gpu and not slow" -n 3 --dist loadfile

# What `make test` leaves out: repetitions, kills of commands at random moments, environments made from an index.
test-slow: $(STAMP)
	$(BIN)/python -m pytest --slow -m "slow and not gpu" -n 2 --dist loadfile

# What `--ray` needs, and the tests of it.
setup-cluster: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --editable '.[cluster]'

mutants: $(STAMP)
	$(BIN)/harness mutants --out reports/mutants

soak: $(STAMP)
	$(BIN)/harness soak --out reports/soak

bench: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/harness bench --jobs 2

# `make nightly PROFILE=dev` is the same in minutes.
nightly: $(STAMP)
	$(BIN)/harness nightly --out reports/nightly --profile $(PROFILE)

clean:
	rm -rf $(VENV) .venv-gpu .cache reports/latest reports/mutants reports/soak reports/gpu reports/nightly reports/bench reports/*-part

# On a machine with a GPU: the CUDA build of vLLM in an environment of its own.
GPU_VENV := .venv-gpu
$(GPU_VENV)/.installed: pyproject.toml
	test -d $(GPU_VENV) || $(PYTHON) -m venv $(GPU_VENV)
	$(GPU_VENV)/bin/python -m pip install --quiet --editable ".[gpu,test]"
	touch $@

gpu: $(GPU_VENV)/.installed
	$(GPU_VENV)/bin/python -m pytest -m gpu --harness-report reports/gpu -n $(ENGINES) --dist worksteal

bench-gpu: $(GPU_VENV)/.installed
	$(GPU_VENV)/bin/harness bench --model 31b-shape --backend TRITON_ATTN --dtype bfloat16 \
		--tokens 64 --tokens 512 --tokens 4096 --step 8192

nightly-gpu: $(GPU_VENV)/.installed
	$(GPU_VENV)/bin/harness nightly --out reports/nightly --profile $(PROFILE) --engines $(ENGINES)
