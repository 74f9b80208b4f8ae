# Two commands do everything: `make demo` shows the main job on real input, `make test` runs every test.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test check proof soak tools bench clean

demo: $(VENV)/installed
	sh fixtures/demo.sh $(BIN)/atomsync $(BIN)/python build/demo

test: tools $(VENV)/test-installed check
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

# Style, types and floors: what needs no test run.
check: $(VENV)/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Every layer of docs/proof.md in full, and its figures; mounts filesystems, so as root. PROOF_ARGS="-k kills" for a part.
proof: tools $(VENV)/proof-installed
	$(if $(PROOF_ARGS),,rm -rf build/proof)
	PROOF=full $(BIN)/python -m pytest -n 2 --dist worksteal $(PROOF_ARGS) tests/proof
	$(BIN)/python -m tests.proof.report docs/proof.md

# The storms of a watch in full, 20 to 30 minutes. SOAK_ARGS="-k kills" for a part.
soak: tools $(VENV)/test-installed
	SOAK=full $(BIN)/python -m pytest $(SOAK_ARGS) tests/soak

# Beside rsync, cp, rclone and unison, about 45 minutes on an idle machine; mounts filesystems, so as root.
# BENCH_ARGS="--case first" for a part, BENCH_ARGS=--quick for a test of the benchmark itself.
bench: $(VENV)/bench-installed
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

.PHONY: bench-watch
bench-watch: $(VENV)/installed
	$(BIN)/python benchmarks/watch.py --output docs/benchmarks-watch.md

# The table behind the budgets of tests/performance: instructions for one file, by the hot loop. Needs valgrind.
.PHONY: instructions
instructions: tools $(VENV)/test-installed
	$(BIN)/python -m tests.performance.instructions

# The manual pages, and the page of all commands: both are made of what --help says.
.PHONY: man docs
man: $(VENV)/installed
	$(BIN)/python -m docs.tools.man build/man

docs: $(VENV)/installed
	$(BIN)/python -m docs.tools.page

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/test-installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/proof-installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,proof]'
	touch $@

$(VENV)/bench-installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

# The judges and filesystems that tests use. Where we may not install, the tests that need one skip.
TOOLS := rsync:rsync strace:strace mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs git:git diff:diffutils getfattr:attr fusermount3:fuse3 patch:patch systemd-analyze:systemd pg_ctlcluster:postgresql lowntfs-3g:ntfs-3g setfacl:acl man:man-db groff:groff-base nginx:nginx valgrind:valgrind
tools:
	@missing=$$(for tool in $(TOOLS); do PATH=$$PATH:/sbin:/usr/sbin command -v $${tool%%:*} >/dev/null || echo $${tool##*:}; done); \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; \
	elif [ -n "$$missing" ]; then echo "not installed here, their tests skip:" $$missing; fi

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
