# Two commands on a fresh machine (Python 3.11, make, git):
#   make demo   set everything up, then open the dashboard
#   make test   set everything up, then run all tests (browser tests included)
PYTHON ?= python3.11
PORT   ?= 8050
# Test processes side by side: three for two cores, since a browser test mostly waits; a file of them stays in one process.
WORKERS ?= 3
TESTS  := .venv/bin/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder
STAMP  := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all checks lint js browser fuzz soak compat sbom audit pictures bench bench-gpu clean

help:            ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml poetry.lock poetry.toml scripts/bootstrap.py
	$(PYTHON) scripts/bootstrap.py
	@touch $@

setup: $(STAMP)  ## create .venv with the locked dependencies

demo: setup      ## the dashboard on http://127.0.0.1:$(PORT)
	.venv/bin/dpo serve --port $(PORT)

browser: setup   ## make sure that there is a Chromium for the browser tests
	.venv/bin/python scripts/ensure_browser.py

test: checks     ## lint, format, types and JavaScript, then unit, training and browser tests
	$(TESTS)

test-all: checks ## what `make test` runs and the slow tests, with the share of dpo/ that ran
	$(TESTS) -m "slow or not slow" --cov

# Side by side; each prints what it has to say when it is done.
checks: setup
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint js browser

fuzz: setup      ## 10,000 malformed requests to every route and callback, others than those of `make test`
	DPO_FUZZ=10000 DPO_FUZZ_SEED=$$(date +%s) .venv/bin/python -m pytest tests/unit/test_fuzz.py --timeout 1800

# Another seed each time; SOAK=SECONDS is how long the load lasts (two hours: 7200).
soak: setup      ## faults fifty at a time (kills, damage, queue, votes), then viewers, generations and idle connections
	DPO_KILL_MOMENTS=50 DPO_DAMAGED_RUNS=300 DPO_DAMAGED_FIRST=$$(date +%s) .venv/bin/python -m pytest tests/faults -m "slow or not slow" --timeout 3600
	PYTHONPATH=. .venv/bin/python benchmarks/soak.py --seconds $(or $(SOAK),120)

# With a network: docs/compatibility.md says what each of the three asks whom.
compat: setup    ## what we rely on in TRL, transformers, PEFT, datasets and Dash, with the lowest and the highest versions
	.venv/bin/python scripts/compatibility.py

sbom: build/tools/.installed ## all packages and their licences: build/sbom.json (CycloneDX) and build/licences.md
	build/tools/bin/cyclonedx-py environment .venv/bin/python --output-file build/sbom.json
	build/tools/bin/pip-licenses --python .venv/bin/python --order license --format markdown --output-file build/licences.md

audit: build/tools/.installed ## known vulnerabilities of the installed versions, asked of the Python advisory database
	build/tools/bin/pip-audit --path "$$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# Of their own, so that none of them is a dependency.
build/tools/.installed: $(STAMP)
	$(PYTHON) -m venv build/tools
	build/tools/bin/pip install -q "cyclonedx-bom>=7.5,<8" "pip-licenses>=5.5,<6" "pip-audit>=2.10,<3"
	@touch $@

lint: setup      ## ruff, its format, mypy, and whether the lock fits pyproject.toml (where Poetry is)
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
	@[ ! -x .poetry/bin/poetry ] || .poetry/bin/poetry check --lock

js: setup        ## the pages' JavaScript: eslint, prettier, types and unit tests
	.venv/bin/python scripts/check_javascript.py

# Of the bundled policies and runs; EVALUATION=DIR shows an evaluation of yours instead of a small one.
pictures: browser ## the README's pictures anew, and the first visit that moves (4 minutes)
	PYTHONPATH=. .venv/bin/python -m scripts.pictures $(if $(EVALUATION),--evaluation $(EVALUATION))

bench: setup     ## how quick a training step is, beside TRL's (about 15 minutes)
	PYTHONPATH=. .venv/bin/python benchmarks/train_step.py --end-to-end

# One part a line; ARGS=--dry-run lists what each would do, on any machine.
bench-gpu: setup ## with an NVIDIA GPU: its tests, steps beside TRL's, a training of each family (30 minutes at most)
	PYTHONPATH=. .venv/bin/python benchmarks/gpu.py tests $(ARGS)
	PYTHONPATH=. .venv/bin/python benchmarks/gpu.py steps $(ARGS)
	PYTHONPATH=. .venv/bin/python benchmarks/gpu.py training $(ARGS)
	PYTHONPATH=. .venv/bin/python benchmarks/gpu.py write $(ARGS)

clean:           ## remove the environment
	rm -rf .venv .poetry
