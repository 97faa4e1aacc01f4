# make demo      an analyzed melanoma in napari (IMAGE=photo.jpg for your own photograph, SLIDE=yes, CASE=yes)
# make test      what every change must pass; about ten minutes on two cores
# make test-all  everything else that continuous integration checks
# They install what they need on a machine with Python 3.11 or later, git and make. The second time, this takes seconds.

VENV ?= .venv
BIN := $(VENV)/bin
IMAGE ?=
SLIDE ?=
CASE ?=
OUT ?= demo-output
WORKERS ?= 2
MINUTES ?= 60
# Without a display the window could not be closed: the demo then writes its files and ends.
HEADLESS ?= $(if $(filter Linux,$(shell uname -s)),$(if $(DISPLAY)$(WAYLAND_DISPLAY),,yes))
DISPLAYED := scripts/with-display.sh
VIRTUAL := env -u DISPLAY -u WAYLAND_DISPLAY -u QT_QPA_PLATFORM $(DISPLAYED)
# Each process computes on one thread: two processes that both use every core are slower than one.
ONE_THREAD := env OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 LP_NUM_THREADS=1
IN_PARALLEL := -n $(WORKERS) --dist worksteal
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest $(IN_PARALLEL)
# Test processes share the compiled files of torch and napari.
unexport PYTHONDONTWRITEBYTECODE

# At least 95 % of the lines and branches of each group must be reached by these tests, without real images.
MEASURED := core io imaging metrics depth slides/reading
COVERAGE_TESTS := $(addprefix tests/,core io imaging metrics depth slides hostile data \
    lesion/test_analysis.py lesion/test_batch.py phantoms/slide training/bags/test_bag_reading.py \
    case/test_gathering.py reports/test_slide_export.py \
    runs/test_launching.py runs/test_runs.py)
comma := ,
SOURCES := $(subst $() ,$(comma),$(subst /,.,$(MEASURED:%=napari_melanoma.%)))
# Checks reports for accessibility in a browser.
AXE := build/axe.min.js
SETUP := pyproject.toml packaging/lock.txt scripts/environment.sh scripts/system-libraries.sh

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help demo test test-all env static lint types contracts quick coverage slow windows windows-pyqt6 \
    windows-pyside6 real-data hostile stress mutants bench docs screenshots lock clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.ready-to-run ## open napari with an analyzed melanoma; IMAGE=photo.jpg, SLIDE=yes or CASE=yes; results in demo-output/
	$(DISPLAYED) $(BIN)/napari-melanoma demo $(if $(IMAGE),"$(IMAGE)") $(if $(SLIDE),--slide) $(if $(CASE),--case) --out "$(OUT)" $(if $(HEADLESS),--headless)

test: $(VENV)/.ready-to-test ## lint, types, contracts, manifest, fast tests, main paths in windows; about ten minutes
	@$(MAKE) --no-print-directory --keep-going --jobs=2 quick static
	@echo "make test: everything passed"

test-all: $(VENV)/.ready-to-test ## the rest: coverage, slow tests, all window tests, documentation, real images
	@$(MAKE) --no-print-directory --keep-going --jobs=1 docs coverage slow windows real-data
	@echo "make test-all: everything passed"

env: $(VENV)/.ready-to-test ## set up .venv for development, with the versions of packaging/lock.txt; the newest with LOCK=no

lock: $(VENV)/.ready-to-test ## update packaging/lock.txt to the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-header --no-annotate \
	    --extra pyqt6 --extra pyside6 --extra test --output-file packaging/lock.txt pyproject.toml

static: lint types contracts ## what is checked without running the package

lint: $(VENV)/.ready-to-test ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-to-test ## mypy
	$(BIN)/mypy

contracts: $(VENV)/.ready-to-test ## the layers (import-linter) and the napari manifest
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari-melanoma

quick: $(VENV)/.ready-to-test ## the fast tests, and the main paths of the docks in windows
	$(PYTEST) -m "not slow and not real_data" --ignore tests/ui
	$(PYTEST) -m path tests/ui

coverage: $(VENV)/.ready-to-test ## the coverage of the measured packages, as a table and in htmlcov/; fails below 95 %
	rm -f .coverage .coverage.*
	$(ONE_THREAD) $(BIN)/coverage run --source=$(SOURCES) -m pytest $(IN_PARALLEL) -m "not real_data" $(COVERAGE_TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage html --quiet
	for group in core "io slides/reading" "imaging metrics depth"; do \
	    include=$$(for package in $$group; do printf 'src/napari_melanoma/%s/*,' "$$package"; done); \
	    $(BIN)/coverage report --include="$$include" --skip-covered --fail-under=95 || exit 1; \
	done

slow: $(VENV)/.ready-to-test $(AXE) ## the slow tests that "make coverage" does not run: training, kills, reports in a browser
	$(PYTEST) -m "slow and not real_data" --ignore tests/ui $(COVERAGE_TESTS:%=--ignore=%)

windows: windows-pyqt6 windows-pyside6 ## the other window tests under PyQt6, and those marked both_qts under PySide6

windows-pyqt6: $(VENV)/.ready-to-test
	QT_API=pyqt6 $(PYTEST) -m "not path and not real_data" tests/ui

windows-pyside6: $(VENV)/.ready-to-test
	QT_API=pyside6 $(PYTEST) -m "both_qts and not real_data" tests/ui

real-data: $(VENV)/.ready-to-test ## the tests on real images (NAPARI_MELANOMA_DATA, ../shared/data); without them they skip
	$(PYTEST) -m real_data $$(grep -rl --include="test_*.py" shared_data tests)

hostile: $(VENV)/.ready-to-test ## 5,200 generated hostile and unusual inputs, killed jobs, double starts; 25 minutes
	$(VIRTUAL) $(BIN)/python scripts/hostile.py --workers $(WORKERS) --table build/hostile.md

stress: $(VENV)/.ready-to-test ## random actions in napari windows, under both Qt bindings in turn; MINUTES=60
	$(BIN)/python tests/stress/test_random_actions.py --minutes $(MINUTES) --table build/stress.md

mutants: $(VENV)/.ready-to-test ## make small changes to the code and list those that no test notices; ONLY="napari_melanoma.metrics.overlap*"
	$(BIN)/python -m pip install --quiet "mutmut>=3.8"
	$(ONE_THREAD) $(BIN)/mutmut run --max-children $(WORKERS) $(if $(ONLY),"$(ONLY)")
	$(BIN)/mutmut results

bench: $(VENV)/.ready-to-test ## the benchmarks of benchmarks/, one after the other but those that take long or need photographs
	@for file in $(filter-out benchmarks/adaptation.py benchmarks/headlines.py benchmarks/job_passes.py benchmarks/peers.py benchmarks/rulers.py benchmarks/sizes.py,$(wildcard benchmarks/*.py)); do \
	    echo "== $$file"; $(VIRTUAL) $(BIN)/python "$$file" || exit 1; \
	done

docs: $(VENV)/.ready-to-test ## the documentation, into site/; a link to a page or heading that does not exist is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

screenshots: $(VENV)/.ready-to-run ## update the pictures of the docks in the documentation
	$(VIRTUAL) $(BIN)/python scripts/screenshots.py
	$(VIRTUAL) $(BIN)/python scripts/screenshots.py --theme light --only lesion
	$(VIRTUAL) $(BIN)/python scripts/screenshots.py --theme light --only case

clean: ## remove generated files and the environment
	rm -rf $(VENV) build dist site htmlcov demo-output .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache \
	    .import_linter_cache .hypothesis .tox mutants

$(AXE): scripts/axe.sh
	scripts/axe.sh $@
	@touch -c $@

$(VENV)/.ready-to-run: $(SETUP)
	scripts/system-libraries.sh
	scripts/environment.sh $(VENV) pyqt6
	@touch $@

# Imports compile modules; test processes that start together would each compile all of them.
$(VENV)/.ready-to-test: $(SETUP)
	scripts/system-libraries.sh
	scripts/environment.sh $(VENV) pyqt6,pyside6,test
	$(BIN)/python -W ignore -c "import distributed, lightning.pytorch, onnxscript, segmentation_models_pytorch, sklearn.metrics"
	@touch $(VENV)/.ready-to-run $@
