# make demo: set-up and the desk with a made-up day.  make test: set-up and all tests.  make setup: set-up alone.
.PHONY: demo setup test test-postgres chaos fuzz complaints members months visits lint record lock clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

demo: $(READY)
	$(BIN)/kefu up --sample

setup: $(READY)

test: $(READY)
	$(BIN)/pytest
	$(BIN)/pytest -n0 -m fire

# All tests once more, their ledgers on a PostgreSQL that is started for them, and storms of processes on both databases.
test-postgres: $(READY)
	KEFU_TEST_DATABASE=postgresql $(BIN)/pytest -m "not fire"

# The product under a storm of kills, an outage and a crowd at its door, a scorecard at the end: make chaos SEED=7 CASES=300 KILLS=10
chaos: $(READY)
	$(BIN)/python -m tests.fire $(if $(SEED),--seed $(SEED)) $(if $(CASES),--cases $(CASES)) $(if $(KILLS),--kills $(KILLS))

# Two years of forty stores' visits in virtual time, each escalation looked at: make visits MONTHS=6 STORES=10 LINES=10
visits: $(READY)
	$(BIN)/python -m tests.visit_months $(if $(MONTHS),--months $(MONTHS)) $(if $(STORES),--stores $(STORES)) $(if $(LINES),--lines $(LINES))

# Real orders (customer,date,units,amount) through every month of expiring cards, beside a reference in plain SQL: make months DATA=orders.csv
DATA ?= orders.csv
months: $(READY)
	$(BIN)/python -m tests.months $(DATA)

# Real complaints (case,received_at,first_step_at,last_step_at,text) as live cases under kills, then as history: make complaints DATA=complaints.csv
complaints: $(READY)
	$(BIN)/python -m tests.real_complaints $(DATA)

# A chain goes live with half a million members: nobody hears anything of them, and what it takes: make members MEMBERS=50000
members: $(READY)
	$(BIN)/python -m tests.many_members $(if $(MEMBERS),--members $(MEMBERS) --expiring $(shell expr $(MEMBERS) / 50))

# Random acts on a complaint against the handbook's rules, the long form of tests/test_fuzz.py: make fuzz EXAMPLES=500
fuzz: $(READY)
	KEFU_TEST_FUZZ=$(or $(EXAMPLES),500) $(BIN)/pytest -n0 tests/test_fuzz.py

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

# Histories of this release's stories, to be replayed by every later one.
record: $(READY)
	$(BIN)/pytest --record tests/test_replay.py

# The lock names every package by version and hash, and no registry: it works behind any mirror.
lock: $(READY)
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --group dev pyproject.toml -o requirements.lock

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip install -q --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	touch $(READY)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist
	find . -name __pycache__ -prune -exec rm -rf {} +
	@echo "var/ holds the ledger and its keys; remove it by hand if you mean it"
