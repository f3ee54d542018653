# make demo    the whole way on a simulated image: demo/montage.png and scores, in under 10 minutes
# make test    the tests, in under 15 minutes
# make lint    ruff and mypy
# make bench   the figures that the documents quote, on this machine
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/ready
	rm -rf demo
	$(BIN)/zsd simulate demo/sample --seed 1
	$(BIN)/zsd noise demo/sample/noisy.tif
	$(BIN)/zsd train demo/sample/noisy.tif --psf demo/sample/psf.tif --out demo/run --minutes 4
	$(BIN)/zsd export demo/run demo/model.zip
	$(BIN)/zsd predict demo/model.zip demo/sample/noisy.tif --out demo
	$(BIN)/python benchmarks/demo_scores.py demo

test: .venv/ready
	$(BIN)/python -m pytest

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/runtime.py

clean:
	rm -rf .venv demo
