# One command a line; `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# A python3 that runs: pyenv's shim fails where .python-version names a version it does not have.
PYTHON := $(shell for p in python3 /usr/bin/python3 /usr/local/bin/python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && echo $$p && break; done)
export PYTHON

# Ends a recipe with a sentence unless a variable is unset or a whole number above 0.
whole = case '$($(1))' in '') ;; 0*|*[!0-9]*) \
	echo "error: $(1)=$($(1)) is no whole number above 0; write for example: make $@ $(1)=$(2)" >&2; exit 2 ;; esac

CONTROL := .venv/.ready
WORKER := .venv-worker/.ready
FUZZ := .venv-fuzz/.ready

.PHONY: help demo serve up down setup lock docs format clean test lint backfill-check test-ui test-compose test-faults soak fuzz \
	bench-scan bench-datasets bench-reuse bench-pack bench-monitor simulate

help: ## This menu
	@awk -F ':.*## ' '/^##@ /{printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nVariables go behind the command: make demo WORKERS=2. Documentation: README.md and docs/\n'

##@ Try
demo: $(CONTROL) $(WORKER) ## Run the whole pipeline once on a small real world, report, stop (WORKERS=1 to 8)
	@.venv/bin/python -m demo run $(if $(WORKERS),--workers '$(WORKERS)')

serve: $(CONTROL) $(WORKER) ## The same, and leave it running with the Airflow UI to click in (WORKERS=1 to 8)
	@.venv/bin/python -m demo serve $(if $(WORKERS),--workers '$(WORKERS)')

##@ Run for real (docs/real-pypi.md)
up: ## Build and start docker-compose.yaml, and say where to log in (secrets are made at the first start)
	@test -e .env || { cp .env.example .env; echo "up: made .env of .env.example; see what can be set there"; }
	@docker compose up --build --detach
	@echo "Airflow's web UI: http://$$(docker compose port airflow-apiserver 8080)" \
	    "  user: admin, unless .env names another   password: $$(docker compose exec -T airflow-worker cat /run/secrets/admin_password)"

down: ## Stop what `make up` started; volumes stay
	@docker compose --profile '*' down

setup: $(CONTROL) $(WORKER) ## Make both Python environments: .venv (control host) and .venv-worker (scanner)

##@ Check
test: $(CONTROL) $(WORKER) ## Unit and integration tests (ARGS="-k name" to choose, ARGS='-m "not world"' without Airflow)
	@.venv/bin/python -m pytest $(ARGS)

lint: $(CONTROL) $(WORKER) ## Style, types, and that generated files are current
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/mypy --python-version 3.11 --python-executable .venv-worker/bin/python include/scripts
	@uv=$$(tools/uv.sh) && tools/check_generated.sh "$$uv"

backfill-check: $(CONTROL) $(WORKER) ## Scan the twelve months of a year as a backfill in the small world
	@BACKFILL_MONTHS=12 .venv/bin/python -m pytest tests/dags/test_backfill.py $(ARGS)

test-ui: $(CONTROL) $(WORKER) ## Use the web UI in a headless Chromium (ARGS="-k name" to choose); writes docs/images
	@.venv/bin/python -m pytest tests/ui --screenshots docs/images $(ARGS)

test-compose: $(CONTROL) $(WORKER) ## Check docker-compose.yaml; in a Docker engine, run the main job in the stack
	@.venv/bin/python -m pytest tests/compose/test_*.py tests/compose/in_engine.py $(ARGS)

test-faults: $(CONTROL) $(WORKER) ## Inject every fault into a scan of the small world (ARGS="-k name" to choose)
	@.venv/bin/python -m pytest tests/faults/every_fault.py $(ARGS)

soak: $(CONTROL) $(WORKER) ## Keep the small world busy while things are killed at random (MINUTES=30)
	@$(call whole,MINUTES,30)
	@MINUTES='$(or $(MINUTES),30)' .venv/bin/python -m pytest -s tests/faults/soak.py $(ARGS)

fuzz: $(WORKER) $(FUZZ) ## Fuzz all that reads outside input (MINUTES=10, TARGET=name); crashes are left in .fuzz/
	@$(call whole,MINUTES,10)
	@.venv-fuzz/bin/python -m tests.fuzz.guided $$(($(or $(MINUTES),10) * 60)) $(TARGET)

##@ Measure
bench-scan: $(CONTROL) $(WORKER) ## The scan engine against GNU parallel and stock Aura (CORPUS=file)
	@.venv/bin/python bench/scan.py $(if $(CORPUS),--corpus '$(CORPUS)') $(ARGS)

bench-datasets: $(CONTROL) ## The hourly datasets on a synthetic mirror (N=packages, KEEP=1 keeps it)
	@.venv/bin/python bench/datasets_bench.py $(if $(N),--packages '$(N)') $(if $(KEEP),--keep)

bench-reuse: $(CONTROL) $(WORKER) ## A scan that re-uses records against a full one (CORPUS=file)
	@.venv/bin/python bench/reuse.py $(if $(CORPUS),--corpus '$(CORPUS)') $(ARGS)

bench-pack: $(CONTROL) $(WORKER) ## Packing against zstd and md5sum (GB=5)
	@.venv/bin/python bench/pack_bench.py $(if $(GB),--gb '$(GB)') $(ARGS)

bench-monitor: $(CONTROL) ## The pages of the scan monitor over a synthetic PyPI, which stays (N=packages)
	@.venv/bin/python bench/monitor_bench.py $(if $(N),--packages '$(N)')

simulate: $(CONTROL) ## A synthetic PyPI, planned for real and scanned on simulated workers (N=packages)
	@.venv/bin/python bench/simulate.py $(if $(N),--packages '$(N)')

##@ Maintain
format: $(CONTROL) ## Let ruff fix what it can
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

docs: $(CONTROL) ## Write docs/reference.md anew, from the code
	@.venv/bin/python tools/reference.py docs/reference.md

lock: ## Write requirements.lock and every requirements.txt anew
	@tools/check_machine.sh && uv=$$(tools/uv.sh) && tools/lock.sh "$$uv" .

clean: ## Remove the environments, the demo world and caches
	rm -rf .venv .venv-worker .venv-fuzz .fuzz .uv .demo .bench .mypy_cache .pytest_cache .ruff_cache

$(CONTROL): requirements.lock pyproject.toml
	@tools/check_machine.sh
	@uv=$$(tools/uv.sh) && set -e && tools/check_headers.sh $$uv && echo "setup: control environment .venv (Python 3.12)" && \
	$$uv venv --quiet --allow-existing --python 3.12 .venv && \
	$$uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock && \
	$$uv pip install --quiet --python .venv/bin/python --no-deps --editable .
	@touch $@

$(WORKER): include/scripts/requirements.txt
	@tools/check_machine.sh
	@uv=$$(tools/uv.sh) && set -e && tools/check_headers.sh $$uv && echo "setup: scanner environment .venv-worker (Python 3.11)" && \
	$$uv venv --quiet --allow-existing --python 3.11 .venv-worker && \
	$$uv pip sync --quiet --python .venv-worker/bin/python --require-hashes include/scripts/requirements.txt
	@touch $@

$(FUZZ): requirements.lock tests/fuzz/requirements.txt pyproject.toml
	@tools/check_machine.sh
	@uv=$$(tools/uv.sh) && set -e && tools/check_headers.sh $$uv && echo "setup: fuzzing environment .venv-fuzz (Python 3.12)" && \
	$$uv venv --quiet --allow-existing --python 3.12 .venv-fuzz && \
	$$uv pip sync --quiet --python .venv-fuzz/bin/python --require-hashes requirements.lock tests/fuzz/requirements.txt && \
	$$uv pip install --quiet --python .venv-fuzz/bin/python --no-deps --editable .
	@touch $@
