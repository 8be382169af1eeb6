# maxact: what does each unit of an image network respond to?
# Every target creates .venv on first use; `make help` lists the targets.

DATA    ?= demo
NETWORK ?= efficientnet_lite0
WEIGHTS ?=
LAYERS  ?=
TOP     ?= 64
OUT     ?= out/demo
UNITS   ?= 0-23
RECIPE  ?= typical
LAYER   ?= blocks.4.2
UNIT    ?= 0
PYTHON  ?= python3
WORKERS ?= logical
SECONDS ?= 3600
SAMPLE  ?= 20

VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEVEL  := $(VENV)/.ready-for-development
MAXACT := $(BIN)/maxact
PEERS  := .venv-peers

# What `make bench` compares maxact with, in an environment of its own.
COMPARED := zennit-crp==0.6.0 semanticlens==0.2.1 torch-lucent==0.1.8 horama==0.3.0

PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e

PARALLEL := --numprocesses $(WORKERS) --dist worksteal

# Layers to draw: LAYERS if set, else an early, a middle and a late layer of the default network.
DRAWN := $(if $(LAYERS),$(LAYERS),$(if $(filter efficientnet_lite0,$(NETWORK)),blocks.1.1 blocks.2.1 blocks.4.2,))
GLOBS  = $(foreach layer,$(1),--$(2) '$(layer)')

export MAXACT_CACHE ?= $(CURDIR)/out/cache

.DEFAULT_GOAL := help
.PHONY: help setup index render sheets atlas query check test test-quick test-thorough test-all lint format types web golden soak coverage mutation bench docs dist try-dist clean

help: ## List the targets
	@echo "Usage: make TARGET [DATA=demo] [NETWORK=efficientnet_lite0] [WEIGHTS=file] [LAYERS='glob ...']"
	@echo "                   [TOP=64] [OUT=out/demo] [UNITS=0-23] [RECIPE=typical]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("maxact needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; choose another with make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@echo "Setting up $(VENV) (once; downloads PyTorch and the other packages)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) '.[demo,fast,serve]'
	@touch $@

$(DEVEL): $(READY)
	@echo "Adding what tests, lint and types need"
	@$(PIP) '.[demo,fast,serve,dev]'
	@touch $@

setup: $(DEVEL) ## Create .venv and install everything into it

index: $(READY) ## Stream DATA through NETWORK and keep each unit's top images in OUT
	@$(MAXACT) index $(DATA) --out '$(OUT)' --network '$(NETWORK)' --top $(TOP) $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(call GLOBS,$(LAYERS),layers)

render: index ## Render a synthetic image of each of the UNITS
	@$(MAXACT) render '$(OUT)' $(call GLOBS,$(DRAWN),layer) --units '$(UNITS)' --recipe '$(RECIPE)'

sheets: render ## Draw contact sheets with synthetic and real images
	@$(MAXACT) sheets '$(OUT)' $(call GLOBS,$(DRAWN),layer) --units '$(UNITS)' --recipe '$(RECIPE)'

atlas: render ## Build a web site of the index in OUT/atlas
	@$(MAXACT) atlas '$(OUT)'

query: $(READY) ## List the top images of LAYER=blocks.4.2 UNIT=0
	@$(MAXACT) top '$(OUT)' '$(LAYER)' '$(UNIT)'

test: $(DEVEL) ## Run the tests, one process per core (WORKERS=1 for one)
	@$(BIN)/python -m pytest $(PARALLEL) -m 'not thorough'

test-thorough: $(DEVEL) ## Run the tests of many random or heavy cases
	@$(BIN)/python -m pytest $(PARALLEL) -m thorough

test-all: $(DEVEL) ## Run all tests, as CI does
	@$(BIN)/python -m pytest $(PARALLEL)

test-quick: $(DEVEL) ## Run the tests that take less than a second or two each
	@$(BIN)/python -m pytest $(PARALLEL) -m 'not slow'

lint: $(DEVEL) ## Check style and formatting (ruff)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(DEVEL) ## Fix style and formatting (ruff)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(DEVEL) ## Check types (mypy, strict)
	@$(BIN)/mypy

check: lint types test-all ## Run lint, types and test, as CI does

web: ## Build the script of the atlas from viz/atlas/web (needs Node.js)
	@cd viz/atlas/web && npm ci --no-audit --no-fund --silent && npm run --silent check && npm test --silent && npm run --silent build

golden: $(DEVEL) ## Redraw the golden pictures of the tests
	@MAXACT_GOLDEN=write $(BIN)/python -m pytest -q tests/viz/sheets/test_sheets.py tests/viz/render/test_same_pictures.py

soak: $(DEVEL) ## Disturb commands with random faults for SECONDS=3600
	@$(BIN)/python -m tests.faults.soak --seconds $(SECONDS)

coverage: $(DEVEL) ## Run the tests of `make test` and report which lines and branches they ran; pages in out/coverage/html
	@rm -rf out/coverage && mkdir -p out/coverage
	@$(BIN)/python -m coverage run -m pytest $(PARALLEL) -m 'not thorough'
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage html --quiet
	@$(BIN)/python -m coverage report --include='pipeline/*'
	@$(BIN)/python -m coverage report --include='viz/*'

mutation: $(DEVEL) ## Change SAMPLE=20 expressions of each module of state, store and geometry; list those no test notices
	@$(BIN)/python -m tests.mutation --sample $(SAMPLE)

$(PEERS)/.ready: pyproject.toml constraints.txt
	@echo "Setting up $(PEERS) with the libraries that are compared"
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,fast]' $(COMPARED)
	@touch $@

bench: $(DEVEL) $(PEERS)/.ready ## Run the benchmarks at a small size, other libraries beside, and write bench/RESULTS.md
	@$(BIN)/python -m bench --peers $(CURDIR)/$(PEERS)/bin/python

docs: $(DEVEL) ## Build the documentation site in out/site; the first time it draws its figures (minutes)
	@$(BIN)/python -m docs.site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet -f docs/site/mkdocs.yml && echo out/site/index.html

dist: $(DEVEL) ## Build the source distribution and the wheel in dist/
	@rm -rf dist && $(BIN)/python -m build --outdir dist . >/dev/null && ls dist

try-dist: ## Install the wheel of dist/ into an empty environment and run the demo with it
	@PYTHON='$(PYTHON)' .ci/try-packages

clean: ## Remove everything that the targets created, except .venv and .venv-peers
	@rm -rf out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
