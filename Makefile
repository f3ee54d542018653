# make demo    the whole way on a simulated image: demo/montage.png and scores, in under 10 minutes
# make test    the tests, on up to four cores, in under 15 minutes
# make lint    ruff and mypy
# make fiji    the plugin for ImageJ and Fiji: fiji/build/zsd_.jar (needs javac and ij.jar: make fiji IJ_JAR=…)
# make bench   the figures that the documents quote, on this machine
PYTHON ?= python3
BIN := .venv/bin
IJ_JAR ?= /usr/share/java/ij.jar
PLUGIN := fiji/build/zsd_.jar

.PHONY: demo test lint fiji bench clean

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
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fiji: $(PLUGIN)

# For Java 8, which older Fijis bring. ImageJ takes only jars with an underscore in their names for plugins.
$(PLUGIN): fiji/plugins.config $(wildcard fiji/src/zsd/*.java)
	rm -rf fiji/build
	mkdir -p fiji/build/classes
	javac --release 8 -Xlint:all,-options -cp $(IJ_JAR) -d fiji/build/classes fiji/src/zsd/*.java
	jar cf $@ -C fiji plugins.config -C fiji/build/classes .

bench: .venv/ready
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/volume_step.py
	$(BIN)/python benchmarks/attention.py
	$(BIN)/python benchmarks/runtime.py

clean:
	rm -rf .venv demo fiji/build
