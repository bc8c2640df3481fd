# `make` lists the targets. They install what they need into .venv, from hash-pinned lock files.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
# Python compiles each module once, and not in each of the hundreds of processes that tests start.
unexport PYTHONDONTWRITEBYTECODE

# Two per core: tests wait for servers more than they compute.
WORKERS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
ENVIRONMENT_READY := .venv/.ready
# `make run` needs only some of the development packages; it uses all of them if they are installed.
RUN_READY := $(if $(wildcard $(ENVIRONMENT_READY)),$(ENVIRONMENT_READY),.venv/.run-ready)
BENCH_READY := tools/bench/.venv/.ready tools/bench/peers/.venv/.ready tools/bench/peers/node_modules
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH" PYTHONPATH="$(CURDIR)/server:$(CURDIR)"

# Dependencies of unused features: coloured source code, look-ups of mail domains, time zones, Google's protocols (17 MB of
# the image).
UNUSED := pygments dnspython tzdata googleapis-common-protos

# A request may omit a field with a default.
TYPES_OF := --default-non-nullable=false

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(ENVIRONMENT_READY) tools/node_modules clients/typescript/node_modules $(BENCH_READY) ## Install what all other targets need (each also installs it itself)

.PHONY: run
run: $(RUN_READY) ## Serve on http://localhost:8080 with a PostgreSQL 16 (PORT=… and DATABASE_URL=… change that)
	@$(IN_VENV) exec python -m dev.run

.PHONY: doctor
doctor: $(RUN_READY) ## Diagnose what `make run` runs, or DATABASE_URL=…, and say what to do
	@$(IN_VENV) exec python -m dev.console doctor $(ARGS)

.PHONY: audifi
audifi: $(RUN_READY) ## Run an operators' command on the database of `make run`: make audifi ARGS="users list"
	@$(IN_VENV) exec python -m dev.console $(ARGS)

.PHONY: test
test: $(ENVIRONMENT_READY) ## Run the server's tests; without ARGS, require full coverage of the features (name=playlists: of one, by its own tests)
	@$(IN_VENV) $(if $(ARGS),,PYTEST_PLUGINS=tests.support.coverage COVERED="$(name)") python -m pytest -n $(WORKERS) -m "not slow" $(or $(ARGS),$(if $(name),tests/$(name)))

.PHONY: test-tools
test-tools: $(ENVIRONMENT_READY) ## Run the tests of the developers' tools and of the pipeline
	@$(IN_VENV) python -m pytest -n $(WORKERS) -m "not image and not slow and not rehearsal and not client" -o testpaths="tools dev ops clients" $(ARGS)

.PHONY: test-slow
test-slow: $(ENVIRONMENT_READY) $(BENCH_READY) ## Run the tests that start many processes
	@$(IN_VENV) python -m pytest -n $(WORKERS) --dist loadfile -m slow -o testpaths="tests tools dev ops" $(ARGS)

.PHONY: image
image: $(ENVIRONMENT_READY) ## Build the image of this commit (needs docker, podman or buildah)
	@$(IN_VENV) python -m tools.image.build build

.PHONY: image-archive
image-archive: $(ENVIRONMENT_READY) ## Write the image into image.tar, for `docker load` and skopeo
	@$(IN_VENV) python -m tools.image.build save image.tar

.PHONY: test-image
test-image: $(ENVIRONMENT_READY) ## Test the image: migrate, serve (builds it first)
	@$(IN_VENV) python -m pytest -m image tools/image/tests $(ARGS)

.PHONY: compatibility
compatibility: $(ENVIRONMENT_READY) ## Check that the previous release works after the new migrations
	@$(IN_VENV) python -m tools.migrations.compatibility

.PHONY: stripe-contract
stripe-contract: $(ENVIRONMENT_READY) ## Compare the stand-in's tests with Stripe's test mode (needs STRIPE_CONTRACT_KEY=sk_test_…)
	@case "$${STRIPE_CONTRACT_KEY:-}" in sk_test_*|rk_test_*) ;; *) echo "Set STRIPE_CONTRACT_KEY to a test key of Stripe's: sk_test_…"; exit 2;; esac
	@$(IN_VENV) python -m pytest -q -p no:xdist tools/stripe_stand_in/tests $(ARGS)

.PHONY: rehearse
rehearse: $(ENVIRONMENT_READY) tools/node_modules ## Deploy to a simulated Fly with the real workflow, under traffic (half an hour)
	@$(IN_VENV) python -m pytest -q -s -p no:xdist -m rehearsal tools/rehearsal $(ARGS)

.PHONY: soak
soak: $(ENVIRONMENT_READY) ## Break the database under traffic, then overload the server (MINUTES=10; WRITE=1 writes docs/)
	@$(IN_VENV) python -m tools.soak --minutes $(or $(MINUTES),10) $(if $(WRITE),--write) $(ARGS)

.PHONY: backup-drill
backup-drill: $(ENVIRONMENT_READY) ## Back up, destroy and restore a database here, and compare (DUMP=… restores that one instead)
	@$(IN_VENV) python -m tools.backup_drill $(DUMP) $(ARGS)

.PHONY: fuzz
fuzz: $(ENVIRONMENT_READY) ## Send thousands of valid and invalid requests (CASES=… of each)
	@$(IN_VENV) python -m tools.fuzz $(if $(CASES),--cases $(CASES)) $(ARGS)

.PHONY: fuzz-long
fuzz-long: ## Fuzz for much longer, and run the server's tests with other random examples
	@$(MAKE) fuzz CASES=1500
	@$(MAKE) test ARGS=--hypothesis-profile=random

.PHONY: bench
bench: $(ENVIRONMENT_READY) $(BENCH_READY) ## Compare the server with equipped peers under load (a quarter of an hour; needs wrk; ARGS=--quick)
	@$(IN_VENV) python -m tools.bench $(ARGS)

.PHONY: bench-ledger
bench-ledger: $(ENVIRONMENT_READY) ## Compare the ledger and offerings with bare SQL (a few minutes; needs wrk)
	@$(IN_VENV) python -m tools.bench.ledger $(ARGS)

.PHONY: test-client
test-client: $(ENVIRONMENT_READY) tools/node_modules clients/typescript/node_modules ## Test the TypeScript client in Node and in Chromium
	@$(IN_VENV) python -m pytest -q -m client clients $(ARGS)

.PHONY: check
check: lint types test test-tools test-slow compatibility fuzz ## Run all checks that a push needs

.PHONY: lint
lint: lint-python lint-prose lint-migrations lint-contract lint-pipeline ## Format, lint, prose, imports, migrations, OpenAPI, workflow, scripts, Dockerfile

.PHONY: lint-python
lint-python: $(ENVIRONMENT_READY)
	@$(IN_VENV) ruff format --check --quiet .
	@$(IN_VENV) ruff check --quiet .
	@cd server && $(IN_VENV) lint-imports --no-logo

.PHONY: lint-prose
lint-prose: $(ENVIRONMENT_READY)
	@$(IN_VENV) python -m tools.prose.check

.PHONY: lint-migrations
lint-migrations: $(ENVIRONMENT_READY)
	@$(IN_VENV) python -m tools.migrations.check
	@$(IN_VENV) python -m tools.migrations.models

.PHONY: lint-contract
lint-contract: $(ENVIRONMENT_READY) tools/node_modules
	@output=$$($(IN_VENV) REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true tools/node_modules/.bin/redocly lint \
	  --config tools/contract_diff/redocly.yaml --max-problems 20 server/openapi.json 2>&1) || { echo "$$output"; exit 1; }
	@$(IN_VENV) python -m tools.contract_diff.check

.PHONY: lint-pipeline
lint-pipeline: $(ENVIRONMENT_READY) tools/node_modules
	@$(IN_VENV) tools/pipeline/lint-pipeline

.PHONY: types
types: $(ENVIRONMENT_READY) ## Type check
	@$(IN_VENV) MYPYPATH=.github/scripts mypy --config-file server/pyproject.toml conftest.py server/audifi server/alembic dev tools tests clients/tests ops/tests .github

.PHONY: format
format: $(ENVIRONMENT_READY) ## Format the code and fix what the linter can
	@$(IN_VENV) ruff format .
	@$(IN_VENV) ruff check --fix .

.PHONY: openapi
openapi: $(ENVIRONMENT_READY) tools/node_modules ## Write server/openapi.json and the TypeScript client's types from the code
	@cd server && $(IN_VENV) python -m audifi openapi > openapi.json.new && mv openapi.json.new openapi.json
	@$(IN_VENV) tools/node_modules/.bin/openapi-typescript server/openapi.json $(TYPES_OF) --output clients/typescript/src/schema.ts >/dev/null

.PHONY: migration
migration: $(ENVIRONMENT_READY) ## Make the next migration from the template: make migration name="add users.bio"
	@$(IN_VENV) python -m tools.migrations.new "$${name:-}"

.PHONY: feature
feature: $(ENVIRONMENT_READY) ## Start a feature: make feature name=playlists (singular=playlist)
	@$(IN_VENV) python -m tools.feature "$${name:-}" $${singular:+"$$singular"}

.PHONY: hashes
hashes: $(ENVIRONMENT_READY) ## Write the hashes of new or changed migrations
	@$(IN_VENV) python -m tools.migrations.hashes

.PHONY: lock
lock: $(ENVIRONMENT_READY) ## Resolve pyproject.toml into the lock files, with every package at its newest
	@cd server && for group in "requirements.lock $(addprefix --no-emit-package ,$(UNUSED))" \
	    "requirements-run.lock --group run -c requirements.lock" "requirements-dev.lock --group dev -c requirements-run.lock"; do \
	  $(IN_VENV) uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.13 --generate-hashes \
	    --no-annotate --custom-compile-command "make lock" -o $$group; done
	@cd tools/bench/peers && $(IN_VENV) uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.13 \
	  --generate-hashes --no-annotate --custom-compile-command "make lock" -o requirements.lock

.PHONY: clean
clean: ## Remove the environment and the development database
	rm -rf .venv .data tools/bench/.venv tools/bench/results tools/bench/peers/.venv tools/bench/peers/node_modules tools/node_modules clients/typescript/node_modules clients/typescript/dist

$(ENVIRONMENT_READY): server/requirements-dev.lock .python-version
	@dev/install $<
	@touch $@

.venv/.run-ready: server/requirements-run.lock .python-version
	@dev/install $<
	@touch $@

# For the benchmark: the packages of the image, and those of the Python peers.
tools/bench/.venv/.ready: server/requirements.lock
tools/bench/peers/.venv/.ready: tools/bench/peers/requirements.lock
tools/bench/.venv/.ready tools/bench/peers/.venv/.ready: $(ENVIRONMENT_READY)
	@.venv/bin/python -m venv --clear --without-pip $(@D)
	@.venv/bin/uv pip sync --quiet --compile-bytecode --python $(@D)/bin/python --require-hashes $(filter %.lock,$^)
	@touch $@

tools/node_modules clients/typescript/node_modules tools/bench/peers/node_modules: %/node_modules: %/package-lock.json $(ENVIRONMENT_READY)
	@if [ -L $@ ]; then echo "make: $@ is a symbolic link, and its target would be emptied; remove the link" >&2; exit 1; fi
	@$(IN_VENV) npm --prefix $* ci --no-audit --no-fund --loglevel error
	@touch $@
