# install · run · demo · test · test-scale · test-console · pictures · lint · bench · eval · compat · prove-resume · prove-budget · prove-portable · soak · postman · clients · helm · vendor-console. Everything lives in .venv; PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

.PHONY: install dev run demo test test-scale test-console pictures test-busy test-again lint format pre-commit bench eval compat prove-resume prove-budget prove-portable soak postman clients helm vendor-console lock clean

install: $(VENV)/.installed

# With what documents need (150 MB), as most will try them; the image leaves it out.
$(VENV)/.installed: requirements-documents.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || { echo "Installing into $(VENV): about a minute, once ..."; $(PYTHON) -m venv $(VENV); }
ifdef UV
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet -r requirements-documents.txt
else
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-documents.txt
endif
	@touch $@

dev: $(VENV)/.dev

$(VENV)/.dev: requirements-dev.txt $(VENV)/.installed
ifdef UV
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet -r requirements-dev.txt
else
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
endif
	@touch $@

run: install
	@exec $(BIN)/python main.py

# As run, with a firm in it that has used the service for two months; in a data directory of its own. BESIDE_OTHERS=1: in a
# database in which other tenants live.
BESIDE_OTHERS ?=
demo: install
	@exec $(BIN)/python -m demo $(if $(BESIDE_OTHERS),--beside-others)

test: dev
	@tests/install_servers.sh
	$(BIN)/python -m pytest

# What outlasts one machine: everything through PgBouncer, and many processes whose parts are killed one after another.
SECONDS ?= 120
test-scale: dev
	@tests/install_servers.sh
	$(BIN)/python -m pytest --pgbouncer tests/isolation
	SECONDS=$(SECONDS) $(BIN)/python -m pytest -n 0 tests/scale

# The console in a real browser; CONSOLE_SHOTS=directory keeps a picture of each page and state.
# What fails is run once more, alone, and must pass then: a browser leans on the machine's speed.
test-console: dev
	@tests/install_servers.sh chromium
	$(BIN)/python -m pytest -n 0 -rs tests/console || $(BIN)/python -m pytest -n 0 --last-failed --last-failed-no-failures none tests/console

# What the README shows of the console, made anew of what `make demo` serves.
pictures: dev
	@tests/install_servers.sh chromium
	$(BIN)/python -m tests.console.pictures

# Again and again: beside two endless loops that keep both cores busy, or alone. TESTS narrows it down.
ROUNDS ?= 10
TESTS ?=
test-busy: dev
	@tests/install_servers.sh
	@tests/rounds.sh $(ROUNDS) 2 $(TESTS)

test-again: dev
	@tests/install_servers.sh
	@tests/rounds.sh $(ROUNDS) 0 $(TESTS)

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m checks.migrations

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The same checks before each commit.
pre-commit: dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pre-commit
	$(BIN)/pre-commit install

bench: dev
	$(BIN)/python -m benchmarks

# Other people's clients, unedited, in a network without a way out: writes docs/compat.md. CLIENTS="--few" or names of some.
CLIENTS ?=
compat: dev
	$(BIN)/python -m compat $(CLIENTS)

# What is promised, on running processes: streams that die are continued elsewhere; no bill goes above its budget.
TIMES ?=
prove-resume prove-budget prove-portable: prove-%: dev
	$(BIN)/python -m proofs $* $(if $(TIMES),--times $(TIMES))

# How well passages are found, on judged sets; EVAL_DATA names their folders. About five minutes for 1,400 abstracts.
EVAL_DATA ?= ../shared/retrieval
eval: dev
	@$(BIN)/python -m evaluation $(EVAL_DATA)

# About half an hour on two cores; SCALE=0.001 is a smoke test.
SCALE ?= 1
soak: dev
	$(BIN)/python -m soak --scale $(SCALE)

postman: dev clients
	docs/postman/run.sh

# The OpenAPI description: linted, and made into clients. Needs Node.
clients: dev
	docs/clients/check.sh

# The Helm chart, rendered and held to Kubernetes' schemas and to policies. Its tools are half a gigabyte, in an environment of their own.
helm: dev .venv-helm/.installed
	deploy/helm/check.sh
	$(BIN)/python -m pytest tests/deploy/test_*chart*.py

.venv-helm/.installed: deploy/helm/requirements.txt
	@$(PYTHON) -m venv .venv-helm
ifdef UV
	@VIRTUAL_ENV=$(CURDIR)/.venv-helm $(UV) pip install --quiet -r deploy/helm/requirements.txt
else
	@.venv-helm/bin/python -m pip install --quiet --disable-pip-version-check -r deploy/helm/requirements.txt
endif
	@touch $@

# The libraries of the console, anew from their npm packages, by the versions and digests of VERSIONS.json. Needs npm.
vendor-console: dev
	$(BIN)/python -m checks.vendored --fetch

# The lock files, made anew with the newest versions that work together. Needs uv.
lock:
	uv pip compile -q --upgrade pyproject.toml --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" -o requirements.txt
	uv pip compile -q --upgrade pyproject.toml --extra documents --universal --python-version 3.11 -c requirements.txt \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o requirements-documents.txt
	uv pip compile -q --upgrade pyproject.toml --extra dev --universal --python-version 3.11 -c requirements-documents.txt \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o requirements-dev.txt
	uv pip compile -q --upgrade deploy/helm/requirements.in --universal --python-version 3.11 --no-emit-index-url \
	  --no-emit-find-links --custom-compile-command "make lock" -o deploy/helm/requirements.txt

clean:
	rm -rf $(VENV) .venv-helm .compat .pytest_cache .mypy_cache .ruff_cache .hypothesis .schemathesis
