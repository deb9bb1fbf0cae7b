# Everything a newcomer types. `make demo` and `make test` work on a bare machine with Python 3.11 or newer.
PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= torch==2.13.0
LLAMA  ?= 3.22.1
BIN    := $(VENV)/bin
JOBS   ?= 2

.PHONY: demo test test-slow check format results benchmark clean

$(VENV)/base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet -e ".[demo]"
	touch $@

$(VENV)/full: $(VENV)/base
	$(BIN)/python -m pip install --quiet -e ".[test]"
	touch $@

$(VENV)/measure: $(VENV)/full
	$(BIN)/python -m pip install --quiet -e ".[benchmark,browser,eval]"
	touch $@

$(VENV)/node: $(VENV)/full   # llama.cpp for the slow tests, where npm is there
	mkdir -p $@
	-npm install --silent --prefix $@ --ignore-scripts --omit=optional node-llama-cpp@$(LLAMA) \
	  @node-llama-cpp/$$(node -p "process.platform + '-' + process.arch")@$(LLAMA)
	touch $@

demo: $(VENV)/base      ## pre-train, adapt, compare on real reviews: under two minutes on two cores, once installed
	$(BIN)/firth demo

test: $(VENV)/full      ## the fast suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS)

test-slow: $(VENV)/measure $(VENV)/node   ## real data (FIRTH_DATA), kills, full disks, the browser, llama.cpp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow

check: $(VENV)/full     ## format, lint, types (import directions are a test of their own)
	$(BIN)/ruff format --check firth tests benchmarks
	$(BIN)/ruff check firth tests benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layout.py

format: $(VENV)/full
	$(BIN)/ruff format firth tests benchmarks
	$(BIN)/ruff check --fix firth tests benchmarks

benchmark: $(VENV)/measure   ## speed against the peers, in turn
	$(BIN)/python benchmarks/masked_tokens.py --budget 90 --seeds 3

results: $(VENV)/measure     ## the figures of docs/results.md, as a resumable queue
	$(BIN)/python benchmarks/results.py

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .mypy_cache .hypothesis
