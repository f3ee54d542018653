# make demo      restore a simulated image: demo/montage.png and scores, in under 10 minutes
# make test      run the tests on up to four cores, in under 15 minutes
# make coverage  run the tests and list the lines that none of them reached (up to twice as slow as make test)
# make lint      ruff, mypy and the import contracts
# make docs      build the site: site/index.html; a broken link is an error
# make fiji      build the plugin for ImageJ and Fiji: zsd_runtime/fiji/zsd_.jar (needs javac and ij.jar: make fiji IJ_JAR=…)
# make release   check the version, build sdist and wheel into dist/ and run zsd from them; TAG=1 makes the tag, too
# make bench     measure, on this machine, the figures that the documents quote
PYTHON ?= python3
BIN := .venv/bin
IJ_JAR ?= /usr/share/java/ij.jar
PLUGIN := zsd_runtime/fiji/zsd_.jar

.PHONY: demo test coverage lint docs fiji release bench clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/ready
	rm -rf demo
	$(BIN)/zsd simulate demo/sample --seed 1
	$(BIN)/zsd restore demo/sample/noisy.tif --psf demo/sample/psf.tif --out demo --minutes 4
	$(BIN)/python benchmarks/demo_scores.py demo

PYTEST = $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

test: .venv/ready
	$(PYTEST)

coverage: .venv/ready
	$(PYTEST) --cov --cov-report=term-missing:skip-covered

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file .ci/mypy.ini tests
	$(BIN)/mypy --config-file .ci/mypy.ini benchmarks
	$(BIN)/lint-imports --no-cache

docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# For Java 8, which older Fijis bring. The jar is kept in the repository, as users have no JDK: commit it with its sources.
fiji:
	rm -rf fiji/build
	mkdir -p fiji/build/classes
	javac --release 8 -Xlint:all,-options -cp $(IJ_JAR) -d fiji/build/classes fiji/src/zsd/*.java
	$(PYTHON) fiji/pack.py fiji/build/classes $(PLUGIN)
	javac --release 8 -Xlint:-options -cp $(IJ_JAR) -d tests/fixtures/imagej tests/fixtures/imagej/*.java

release: .venv/ready
	$(BIN)/python .ci/release.py $(if $(TAG),--tag)

bench: .venv/ready
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/volume_step.py
	$(BIN)/python benchmarks/attention.py
	$(BIN)/python benchmarks/runtime.py

clean:
	rm -rf .venv demo dist site fiji/build
