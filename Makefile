# Everything runs from .venv, which `make setup` fills and every other target makes when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SF ?= 0.1
DATA := .data
REPORTS := docs/benchmarks
BENCH_SF ?= 1
SEED ?= 1
QUERIES ?= 5000
SEEDS ?= 2
RUNS ?= 102
JOBS ?= 2000
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-ray fuzz chaos chaos-jobs chaos-store chaos-writes check format goldens accept bench plots docs pictures clean

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("sabot-sql needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[server,shell,dev,docs]'
	@touch $@

setup: $(STAMP) ## Install into .venv and compile the kernels
	$(BIN)/python -m sabot_sql.executor.kernel_cache

demo: setup ## Real TPC-H queries through the server, local and on two agents (SF=0.1)
	$(BIN)/sabot-sql demo --scale-factor $(SF) --data $(DATA)/demo

test: setup check ## Lint, types, import contracts and all tests but the slow ones
	$(BIN)/python -m pytest -m "not slow"

fuzz: setup ## Random queries, DuckDB against the distributed route (SEED=1 QUERIES=5000)
	$(BIN)/python -m tests.corpus.fuzz --seed $(SEED) --queries $(QUERIES)

chaos: setup ## Agents are killed, stopped and cut off in the middle of queries (SEEDS=2); see docs/reliability.md
	$(BIN)/python -m tests.chaos --seeds $(SEEDS) --data $(DATA)/chaos

chaos-jobs: setup ## The process of a job is killed at random moments, on SQLite and PostgreSQL (RUNS=102); see docs/reliability.md
	$(BIN)/python -m tests.jobs.kills --runs $(RUNS)

chaos-store: setup ## The PostgreSQL of jobs stops every few seconds under JOBS jobs (2,000); see docs/reliability.md
	$(BIN)/python -m tests.jobs.store_stops --jobs $(JOBS)

chaos-writes: setup ## Server and agents are killed while statements write tables (RUNS=102); see docs/reliability.md
	$(BIN)/python -m tests.server.write_kills --runs $(RUNS)

test-slow: setup ## What `make test` leaves out: tests that take minutes
	$(BIN)/python -m pytest -m slow -o faulthandler_timeout=1800

test-ray: setup ## Agents on a Ray cluster of two nodes (installs the extra `ray`, 80 MB)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[ray]'
	$(BIN)/python -m pytest -m slow -o faulthandler_timeout=1800 tests/agents/test_ray.py

check: $(STAMP) ## Lint, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

goldens: $(STAMP) ## Rewrite the golden plans, docs/plans.md, docs/plan.schema.json, the map of docs/sql.md and the list of functions
	$(BIN)/python -m pytest tests/planner/test_goldens.py tests/planner/test_plan_json.py tests/planner/test_plans_page.py \
		tests/corpus/test_sql_map.py tests/executor/test_datafusion_differences.py tests/shell/test_functions.py --goldens

accept: setup ## The acceptance programs: TPC-H and db-benchmark, every answer compared with DuckDB's
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python bench/accept/check.py tpch --sf $(SF) --route distributed --agents 1,2,3 --data-root $(DATA)
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python bench/accept/check.py tpch --sf $(SF) --route auto --data-root $(DATA)
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python bench/accept/check.py h2o --rows 1000000 --route auto --data-root $(DATA)

$(DATA)/tpch-$(BENCH_SF): $(STAMP)
	$(BIN)/tpchgen-cli parquet -s $(BENCH_SF) --parts=4 --output-dir=$@

bench: setup $(DATA)/tpch-$(BENCH_SF) ## The benches beside DuckDB, and the plots of docs/benchmarks.md from their reports (BENCH_SF=1)
	$(BIN)/python bench/overhead.py --json $(REPORTS)/overhead.json
	$(BIN)/python bench/sizes.py --json $(REPORTS)/sizes.json
	$(BIN)/python bench/tpch.py --data $(DATA)/tpch-$(BENCH_SF) --repeats 3 --json $(REPORTS)/tpch.json
	$(BIN)/python bench/tpch.py --data $(DATA)/tpch-$(BENCH_SF) --repeats 3 --scaling --json $(REPORTS)/scaling.json
	$(BIN)/python bench/service.py --seconds 10 --clients 1,4,16,64 --json $(REPORTS)/service.json
	$(BIN)/python bench/plots.py $(REPORTS)
	$(BIN)/python bench/fast_path.py
	$(BIN)/python bench/operators.py

plots: $(STAMP) ## Draw the plots of docs/benchmarks.md anew from the reports that are there
	$(BIN)/python bench/plots.py $(REPORTS)

docs: $(STAMP) ## Build the documentation as a site, in build/site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pictures: setup ## Record the pictures of the shell in docs/pictures anew
	$(BIN)/python -m tests.shell.pictures

clean: ## Remove the environment, caches and made data
	rm -rf $(VENV) $(DATA) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
