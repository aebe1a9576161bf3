# make demo, make test: the two commands of a fresh machine (python3 >= 3.11). Everything else builds on the same venv.
#
#   PYTHON=python3.12        the interpreter that makes the venv
#   VENV=.venv               where the venv goes
#   CONSTRAINTS=/dev/null    no pins: take the newest torch, with its CUDA packages

PYTHON      ?= python3
VENV        ?= .venv
CONSTRAINTS ?= constraints.txt
BIN         := $(VENV)/bin
TUTORIALS   := sde_primer swiss_roll lorenz96_windows digits
# Numba and BLAS threads would compete with the two pytest workers.
ONE_THREAD  := OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1

.DEFAULT_GOAL := demo
.PHONY: venv demo train sst tutorials test slow lint docs bench clean

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml $(wildcard $(CONSTRAINTS))
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("scoreda needs python >= 3.11, this is %d.%d; try make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[test,dev]'
	@touch $@

demo: venv
	$(BIN)/scoreda demo --out runs/demo

train: venv
	$(BIN)/scoreda train configs/lorenz96.yaml --out runs/prior --resume

sst: venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[examples]'
	mkdir -p runs/sst
	cp "$$($(BIN)/python -c 'import iris_sample_data; print(iris_sample_data.path)')/ostia_monthly.nc" runs/sst/
	$(BIN)/scoreda train configs/sst.yaml --out runs/sst/prior --resume
	$(BIN)/python docs/examples/sst.py --out runs/sst

tutorials: venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[tutorials]'
	for page in $(TUTORIALS); do $(BIN)/python docs/tutorials/$$page.py --out runs/tutorials/$$page || exit 1; done

test: venv
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2

slow: venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[examples,tutorials,distributed]'
	$(ONE_THREAD) $(BIN)/python -m pytest -m slow

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy scoreda

# benchmarks/peers.py, speed.py and vs_dapper.py need packages of others: their first lines say how.
bench: venv
	for script in $(filter-out benchmarks/peers.py benchmarks/speed.py benchmarks/vs_dapper.py benchmarks/result_tables.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done

docs: venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[docs]'
	$(BIN)/python -m sphinx -W -b html docs docs/_build

clean:
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find scoreda tests -name __pycache__ -type d -prune -exec rm -rf {} +
