# make demo    an analyzed lesion in napari (make demo IMAGE=photo.jpg for one's own)
# make test    everything that continuous integration checks
# Both set up what they need on a machine that has Python 3.11 or later, git and make; the second time that takes seconds.

VENV ?= .venv
BIN := $(VENV)/bin
IMAGE ?=
OUT ?= demo-output
WORKERS ?= 2
# Without a display nobody could close the window: the demo then leaves its files and ends.
HEADLESS ?= $(if $(filter Linux,$(shell uname -s)),$(if $(DISPLAY)$(WAYLAND_DISPLAY),,yes))
DISPLAYED := scripts/with-display.sh
# Tests get a virtual display even on a desktop: no window pops up, and none of ours fights for the focus.
VIRTUAL := env -u DISPLAY -u WAYLAND_DISPLAY -u QT_QPA_PLATFORM $(DISPLAYED)
# Each worker computes on one thread: two processes that both take every core are slower than one.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 LP_NUM_THREADS=1
QT_TESTS := tests/ui
MEASURED := core io imaging metrics depth slides/reading
# Tracing costs a third of the time of whatever runs under it, so only these parts are traced, and only while those tests
# run that visit them: their own, those of slides, data and hostile files, and a few others. It is
# tests/conftest.py that starts and stops, in a worker of xdist: two runs would import all of torch and napari twice.
TRACED_TESTS := tests/core tests/io tests/imaging tests/metrics tests/depth tests/slides tests/hostile tests/data \
    tests/lesion/test_analysis.py tests/lesion/test_batch.py tests/phantoms/slide \
    tests/training/bags/test_bag_reading.py tests/case/test_gathering.py \
    tests/metrics/test_class_metrics.py tests/reports/test_slide_export.py \
    tests/runs/test_launching.py tests/runs/test_runs.py
# Tests that import networks are in a process of their own: two halves are collected and imported in half of the time.
NETWORK_FOLDERS := $(addprefix tests/,classification cli evaluation lesion models reproduction risk runs training)
NETWORK_TESTS := $(NETWORK_FOLDERS) $(foreach test,$(TRACED_TESTS),$(if $(filter $(NETWORK_FOLDERS:%=%/%),$(test)),--ignore $(test)))
OTHER_TESTS := $(filter-out $(QT_TESTS) $(NETWORK_FOLDERS) tests/__pycache__,$(patsubst %/,%,$(wildcard tests/*/))) \
    $(wildcard tests/test_*.py) $(filter $(NETWORK_FOLDERS:%=%/%),$(TRACED_TESTS))
comma := ,
TRACED = $(subst $() ,$(comma),$(subst /,.,$(MEASURED:%=napari_melanoma.%)))
# Real images are on few machines: what `make test` requires must be reached by tests that run on all.
ANYWHERE := -m "not real_data"
WITHOUT_WINDOWS := $(ONE_THREAD) QT_API=pyqt6 $(VIRTUAL)
IN_PARALLEL := -n $(WORKERS) --dist worksteal
# Each of the many processes of the tests would compile all of torch and napari again.
unexport PYTHONDONTWRITEBYTECODE
# Only the plugins of pytest that the tests use: found by itself, napari's has pytest rewrite all of napari in each process.
export PYTEST_ADDOPTS += --disable-plugin-autoload -p xdist -p hypothesispytest -p pytest-qt -p napari
# What checks in a browser whether everyone can read the reports.
AXE := build/axe.min.js
SETUP := pyproject.toml Makefile scripts/environment.sh scripts/system-libraries.sh

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

.PHONY: help demo test real-data env lint types contracts abreast tests unit ui ui-pyqt6 ui-pyside6 covered coverage \
    hostile mutants bench docs screenshots clean

help: ## list what make can do here
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.ready-to-run ## open napari with an analyzed lesion; IMAGE=photo.jpg for one's own, results in demo-output/
	$(DISPLAYED) $(BIN)/napari-melanoma demo $(if $(IMAGE),"$(IMAGE)") --out "$(OUT)" $(if $(HEADLESS),--headless)

test: lint abreast covered ## lint, documentation, types, contracts, all tests under both Qts, coverage
	@echo "make test: everything passed"

real-data: $(VENV)/.ready-to-test ## the tests on real images (NAPARI_MELANOMA_DATA, ../shared/data); without them they skip
	$(WITHOUT_WINDOWS) $(BIN)/python -m pytest -m real_data $$(grep -rl --include="test_*.py" shared_data tests)

env: $(VENV)/.ready-to-test ## set up .venv for development

lint: $(VENV)/.ready-to-test ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-to-test ## mypy
	$(BIN)/mypy

contracts: $(VENV)/.ready-to-test ## the layers (import-linter) and the napari manifest
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari-melanoma

# Beside what fills all cores: what computes on one, and what often waits for a window.
abreast: BESIDE := docs types contracts ui
tests: BESIDE := ui
abreast tests: $(VENV)/.ready-to-test
	@mkdir -p build
	@$(MAKE) --no-print-directory --keep-going $(BESIDE) >build/beside.log 2>&1 & beside=$$!; \
	$(MAKE) --no-print-directory unit; unit=$$?; \
	wait $$beside; other=$$?; cat build/beside.log; exit $$((unit | other))

tests: ## those without a window beside those with one

unit: $(VENV)/.compiled $(AXE) ## the tests without a window, in two processes
	rm -f .coverage .coverage.*
	@mkdir -p build
	@files=$$(mktemp -d); SERVER_NUMBER=60 PYTEST_DEBUG_TEMPROOT=$$files $(WITHOUT_WINDOWS) \
	    $(BIN)/python -m pytest $(ANYWHERE) $(NETWORK_TESTS) >build/networks.log 2>&1 & networks=$$!; \
	SERVER_NUMBER=80 TRACED_TESTS="$(TRACED_TESTS)" $(WITHOUT_WINDOWS) \
	    $(BIN)/coverage run --source=$(TRACED) -m pytest -n 1 $(ANYWHERE) $(OTHER_TESTS); others=$$?; \
	wait $$networks; networks=$$?; rm -rf "$$files"; cat build/networks.log; $(BIN)/coverage combine --quiet; exit $$((networks | others))

ui: $(VENV)/.ready-to-test ## the tests with a window, under both Qts at once (under PySide6 those marked both_qts)
	$(ONE_THREAD) PYTHON=$(BIN)/python TESTS="$(QT_TESTS)" scripts/window-tests.sh pyqt6 pyside6

ui-pyqt6: $(VENV)/.ready-to-test ## the tests with a window, under PyQt6
	$(ONE_THREAD) PYTHON=$(BIN)/python TESTS="$(QT_TESTS)" scripts/window-tests.sh pyqt6

ui-pyside6: $(VENV)/.ready-to-test ## the tests with a window, under PySide6
	$(ONE_THREAD) PYTHON=$(BIN)/python TESTS="$(QT_TESTS)" scripts/window-tests.sh pyside6

covered: ## fail where the tests without a window leave more than 5 % of a measured package unvisited
	@for parts in core "io slides/reading" "imaging metrics depth"; do \
	    include=$$(for part in $$parts; do printf 'src/napari_melanoma/%s/*,' "$$part"; done); \
	    $(BIN)/coverage report --include="$$include" --skip-covered --fail-under=95 || exit 1; \
	done

coverage: $(VENV)/.ready-to-test $(AXE) ## what all tests without a window visit, as a table and in htmlcov/
	rm -f .coverage .coverage.*
	$(WITHOUT_WINDOWS) $(BIN)/coverage run --source=napari_melanoma -m pytest $(IN_PARALLEL) --ignore tests/ui
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage html --quiet
	$(BIN)/coverage report --skip-covered

hostile: $(VENV)/.ready-to-test ## try 5,200 generated hostile and unusual inputs, kill jobs, start two at once; 25 minutes
	$(VIRTUAL) $(BIN)/python scripts/hostile.py --workers $(WORKERS) --table build/hostile.md

mutants: $(VENV)/.ready-to-test ## change the code in small ways and list the changes that no test notices
	$(WITHOUT_WINDOWS) $(BIN)/python scripts/mutants.py

bench: $(VENV)/.ready-to-test ## the benchmarks of benchmarks/, one after the other
	@for file in benchmarks/*.py; do \
	    echo "== $$file"; $(VIRTUAL) $(BIN)/python "$$file" || exit 1; \
	done

# Strict: a link to a page or heading that does not exist is an error. Nothing is fetched.
docs: $(VENV)/.ready-to-test ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

screenshots: $(VENV)/.ready-to-run ## update the pictures of the docks in the documentation
	$(VIRTUAL) $(BIN)/python scripts/screenshots.py

clean: ## remove what was made here, the environment too
	rm -rf $(VENV) build dist site htmlcov demo-output .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache \
	    .import_linter_cache .hypothesis .tox

# After an installation, Python compiles what it imports; processes that start together would each compile all of it.
$(VENV)/.compiled: $(VENV)/.ready-to-test
	$(BIN)/python -W ignore -c "import distributed, lightning.pytorch, onnxscript, segmentation_models_pytorch, sklearn.metrics"
	@touch $@

$(AXE): scripts/axe.sh
	scripts/axe.sh $@
	@touch -c $@

# An environment for the tests serves the demo too, so each stamp is written with those that it covers.
$(VENV)/.ready-to-run: $(SETUP)
	scripts/system-libraries.sh
	scripts/environment.sh $(VENV) pyqt6
	@touch $@

$(VENV)/.ready-to-test: $(SETUP)
	scripts/system-libraries.sh
	scripts/environment.sh $(VENV) pyqt6,pyside6,test
	@touch $(VENV)/.ready-to-run $@
