# Every target does its own set-up, once: see .ci/setup. ARGS is handed on, as in `make test ARGS="-k step -x"`.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: setup demo test lint bench reports constraints clean help
.NOTPARALLEL:

python := .venv/bin/python
ARGS ?=
export MPLBACKEND ?= Agg

demo: .venv/.ready  ## invert the article's step both ways, compare, write bayesdiff-demo/
	.venv/bin/bayesdiff demo models/gaussian.py models/mixture.py --overwrite $(ARGS)

test: .venv/.ready-test  ## run the tests and the examples in the docstrings
	$(python) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: .venv/.ready-lint  ## check style and types
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

bench: .venv/.ready-bench  ## measure speed and print the table
	$(python) -m pytest -m bench -o "norecursedirs=.* __pycache__" tests $(ARGS)

studies := article small_steps families kittens hard_posteriors calibration speed gallery

reports: $(studies:%=reports/%.html) reports/explore.html reports/index.html  ## make the studies' runs and pages, some 20 minutes; open reports/index.html

# The study of small steps takes as long as all others: here with a quarter of the points, by its script with all.
reports/small_steps.zarr: options := --size 128
# The study of kittens is made with few pictures; by its script with 64, and 1,000 of clothes.
reports/kittens.zarr: options := --pictures 36 --some 6 --compared 70
# That of calibration with fewer true x and seeds, of the quickest models; by its script with 1,000, 20 and all six.
reports/calibration.zarr: options := --replicates 200 --seeds 2 --models 3 --chains 1
# That of speed with few and small points; by its script up to a million observations and 1,000 dimensions.
reports/speed.zarr: options := --quick

.PRECIOUS: reports/%.zarr
reports/%.zarr: reports/%.py .venv/.ready-test
	$(python) $< --out $@ $(options)

reports/%.html: reports/%.qmd reports/%.zarr
	.venv/bin/bayesdiff report $< -o $@ --overwrite

reports/index.html: reports/index.qmd .venv/.ready-test
	.venv/bin/bayesdiff report $< -o $@ --overwrite

reports/explore.html: models/gaussian.py models/mixture.py .venv/.ready-test
	.venv/bin/bayesdiff explore models/gaussian.py models/mixture.py -o $@ --overwrite

setup: .venv/.ready-dev  ## everything a developer needs, in .venv

constraints: .tools/bin/uv  ## renew constraints.txt after a change in pyproject.toml (ARGS=--upgrade: all versions)
	echo '--editable .[netcdf,report]' | .tools/bin/uv pip compile - --group dev --universal --python-version 3.12 \
	    --no-emit-package bayesdiff --no-emit-index-url --no-annotate --no-header --quiet \
	    --output-file constraints.txt $(ARGS)

clean:  ## remove the environments, the caches, the demo and the reports
	rm -rf .venv .tools .mypy_cache .pytest_cache .ruff_cache .benchmarks bayesdiff-demo reports/*.html reports/*.zarr

help:  ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

# One stamp per dependency group: made again when what it was made from is newer.
sources := pyproject.toml bayesdiff/version.py constraints.txt .python-version .ci/setup

.tools/bin/uv:
	.ci/setup --uv

.venv/.ready: $(sources)
	.ci/setup
	@touch $@

.venv/.ready-%: $(sources)
	.ci/setup $*
	@touch $@
