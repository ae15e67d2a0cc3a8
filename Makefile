# Every target sets up its own .venv first; running it again costs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
POSES ?=
OUT ?= demo_out
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help setup demo test test-slow bench lint typecheck clean
help:
	@echo "make demo [POSES=folder]  train a sign tokenizer in a few minutes and write $(OUT)/report.html"
	@echo "make test                 fast tests          make test-slow   long ones"
	@echo "make bench                speed against the peers"
	@echo "make lint | typecheck     ruff | mypy"

setup: $(READY)

# torch comes first and alone: any other order lets a dependency pull a CUDA build.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

demo: $(READY)
	$(BIN)/signllm demo --output $(OUT) $(if $(POSES),--poses "$(POSES)")

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

bench: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_quantizers.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(READY)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist demo_out bench_out runs *.egg-info src/*.egg-info
