# Everything runs from .venv; each target installs what it needs, so two commands are enough on a fresh machine:
#   make demo    the three steps of RLHF on this CPU, in about two minutes
#   make test    the whole test suite
#
# A GPU host takes its CUDA build of torch from the index that pytorch.org names for it:
#   make demo TORCH_INDEX=<that index>
PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCH_INDEX ?=

BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet install

.PHONY: install-provisioning preflight demo test test-container lint browser-and-database bench bench-gpu install install-test clean

demo: install
	$(BIN)/appliance demo $(DEMO)

test: install-test install-provisioning lint browser-and-database
	$(BIN)/pytest $(TESTS)

# What is wrong with this VM? Without torch, in seconds; on a host that has nothing yet but Python.
preflight: .venv-preflight/installed
	.venv-preflight/bin/appliance preflight $(PREFLIGHT)

lint: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

install-provisioning: .venv-provisioning/installed

# The judges of provisioning/, the compose files and the Dockerfile; cloud-init's schema is in the distribution's package.
.venv-provisioning/installed: tests/provisioning/requirements.txt
	test -x .venv-provisioning/bin/python || $(PYTHON) -m venv .venv-provisioning
	.venv-provisioning/bin/pip --disable-pip-version-check --quiet install --requirement tests/provisioning/requirements.txt
	@cd .venv-provisioning && { apt-get -qq download cloud-init || { apt-get -qq update && apt-get -qq download cloud-init; }; } 2>/dev/null \
	  && dpkg-deb -x cloud-init_*.deb cloud-init || echo "cloud-init cannot be had from apt: its schema will not be asked"
	touch $@

# The image built and run for real, with a Docker engine of its own. Skipped, with the reason, where none can run.
test-container: install-test install-provisioning
	$(BIN)/python tests/container/run.py || { code=$$?; [ $$code = 75 ] || exit $$code; }
	APPLIANCE_TEST_CONTAINER=1 $(BIN)/pytest tests/provisioning/test_play.py

# The page's tests drive Chromium and the store's run on PostgreSQL too. Where they are absent and cannot be installed,
# those tests are skipped and say so.
browser-and-database:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  ! { command -v chromium && ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1; then \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
	    chromium postgresql >/dev/null || echo "chromium and postgresql cannot be installed: their tests will be skipped"; \
	fi

bench: install
	$(PYTHON) tests/bench/run.py $(BENCH)

bench-gpu: install
	$(BIN)/python tests/bench/gpu.py $(BENCH)

install: .venv/installed

install-test: .venv/installed-test

.venv/installed: pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) '$(TORCH)' $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) --constraint constraints.txt --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(PIP) --constraint constraints.txt --editable '.[test]'
	touch $@

.venv-preflight/installed: pyproject.toml constraints.txt Makefile
	test -x .venv-preflight/bin/python || $(PYTHON) -m venv .venv-preflight
	.venv-preflight/bin/pip --disable-pip-version-check --quiet install --constraint constraints.txt \
		click nvidia-ml-py pydantic pyyaml tqdm
	.venv-preflight/bin/pip --disable-pip-version-check --quiet install --no-deps --editable .
	touch $@

clean:
	rm -rf .venv .venv-bench .venv-preflight .venv-provisioning appliance-data
