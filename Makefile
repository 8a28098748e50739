# Two commands matter: `make demo` runs the main job, `make test` runs the tests. Both install what they need, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_WORKERS ?= 2

# No network look-ups at run time.
export HF_HUB_OFFLINE = 1

.PHONY: help install demo test lint format clean

help:
	@echo "make demo    data, guidance, two trained models, report and pictures in outputs/demo"
	@echo "make test    the tests"
	@echo "make lint    ruff check and format check"
	@echo "make clean   remove outputs (not the environment)"

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[dev]"
	touch $(STAMP)

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m vidreason.demo --output_dir outputs/demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf outputs
