# maxact: what does each unit of a network look for?
# The first target run on a new machine sets up .venv by itself; `make help` lists them all.

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

VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
MAXACT := $(BIN)/maxact

# Layers to draw: those asked for, else one early, one middle and one late layer of the default.
DRAWN := $(if $(LAYERS),$(LAYERS),$(if $(filter efficientnet_lite0,$(NETWORK)),blocks.1.1 blocks.2.1 blocks.4.2,))
GLOBS  = $(foreach layer,$(1),--$(2) '$(layer)')

export MAXACT_CACHE ?= $(CURDIR)/out/cache

.DEFAULT_GOAL := help
.PHONY: help setup index render sheets query check test lint format types golden bench clean

help: ## Show this list
	@echo "Usage: make TARGET [DATA=demo] [NETWORK=efficientnet_lite0] [WEIGHTS=file] [LAYERS='glob ...']"
	@echo "                   [TOP=64] [OUT=out/demo] [UNITS=0-23] [RECIPE=typical]"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("maxact needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; choose another with make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@echo "Setting up $(VENV) (once; fetches PyTorch and the other packages)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,fast,dev]'
	@touch $@

setup: $(READY) ## Make the virtual environment and install everything into it

index: $(READY) ## Stream DATA through NETWORK, keep every unit's top images in OUT
	@$(MAXACT) index $(DATA) --out '$(OUT)' --network '$(NETWORK)' --top $(TOP) $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(call GLOBS,$(LAYERS),layers)

render: index ## Make a synthetic image for UNITS of each drawn layer
	@$(MAXACT) render '$(OUT)' $(call GLOBS,$(DRAWN),layer) --units '$(UNITS)' --recipe '$(RECIPE)'

sheets: render ## Draw contact sheets: synthetic and real images side by side
	@$(MAXACT) sheets '$(OUT)' $(call GLOBS,$(DRAWN),layer) --units '$(UNITS)' --recipe '$(RECIPE)'

query: $(READY) ## Show the top images of LAYER=blocks.4.2 UNIT=0
	@$(MAXACT) top '$(OUT)' '$(LAYER)' '$(UNIT)'

test: $(READY) ## Run the tests
	@$(BIN)/python -m pytest

lint: $(READY) ## Check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(READY) ## Put the code into the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(READY) ## Check types (mypy, strict)
	@$(BIN)/mypy

check: lint types test ## Lint, format, types and tests: what CI runs

golden: $(READY) ## Draw the golden pictures of the tests again
	@MAXACT_GOLDEN=write $(BIN)/python -m pytest -q tests/viz/sheets/test_sheets.py tests/viz/render/test_same_pictures.py

bench: $(READY) ## Measure indexing against a bare forward pass
	@$(BIN)/python bench/index.py

clean: ## Remove what the targets made, but not .venv
	@rm -rf out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
