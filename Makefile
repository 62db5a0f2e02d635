# Development of the collection. Every target sets up what it needs on a bare Debian machine, and may be repeated.
SHELL := bash
.DEFAULT_GOAL := help
DISTRO ?= trixie
PYTHON := .venv/bin/python
# Everything in the environment's bin first; a site's own Ansible settings must not reach the tests.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport ANSIBLE_CONFIG ANSIBLE_INVENTORY ANSIBLE_STRATEGY ANSIBLE_CALLBACKS_ENABLED
# Modules that are compiled anew at each start cost each run of Ansible a second.
unexport PYTHONDONTWRITEBYTECODE

GATES := sanity ruff shellcheck yamllint mypy docs changelog package ansible-lint
SCENARIOS := $(sort $(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))
# What make test leaves out: compiling Slurm takes a quarter of an hour.
LONG := build_packages
# Hosts with kernels of their own, on one release.
KERNELS := cgroup storage_nfs
# A release, or a strategy beside Mitogen's, has no part in what these show; auth_slurm needs a newer Slurm than bookworm's.
CHANGES := galera keys backup reboot live
REST := $(filter-out $(LONG) $(KERNELS) $(CHANGES) auth_slurm,$(SCENARIOS))
# Whole clusters on all releases, elsewhere than on trixie by a short sequence. +linear: by Ansible's own strategy, as most users run
# it; else by Mitogen's. Slurm's own metrics are those of forky, whose cluster is monitored. What took longest last time starts first.
TEST := cluster@trixie+linear cluster@forky cluster@bookworm $(addsuffix @trixie,$(filter-out $(LONG) cluster,$(SCENARIOS)))
MATRIX := $(LONG) $(KERNELS) auth_slurm@trixie auth_slurm@forky \
          $(foreach distro,trixie bookworm forky,$(addsuffix @$(distro),$(CHANGES)) $(addsuffix @$(distro)+linear,$(REST)))

.PHONY: help setup setup-newest demo demo-down test test-fast test-matrix molecule lint bench docs build

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | column -t -s $$'\t'

setup: ## the Python environment in .venv, and the collection's link
	@tests/setup.sh .venv tests/requirements.txt 3.11 3.12 3.13

setup-newest: setup
	@tests/setup.sh --optional .venv-newest tests/requirements-newest.txt 3.13 3.12 3.14

demo: setup ## start a cluster in containers (demo-down removes it)
	tests/demo/demo.sh up

demo-down: setup ## remove the demo's cluster
	tests/demo/demo.sh down

test: setup ## everything that must pass before a merge
	$(PYTHON) tests/run.py $(GATES) unit discovery elastic $(TEST)

test-fast: setup-newest ## what needs no containers
	$(PYTHON) tests/run.py $(GATES) unit unit-newest

test-matrix: setup-newest ## every scenario on every release
	HPCOPS_MATRIX=1 $(PYTHON) tests/run.py $(GATES) unit unit-newest discovery elastic $(MATRIX) second-run

molecule: setup ## one scenario: make molecule ROLE=munge [DISTRO=forky] [STRATEGY=linear]
	$(PYTHON) tests/run.py $(or $(ROLE),$(error which scenario? make molecule ROLE=munge))@$(DISTRO)$(if $(STRATEGY),+$(STRATEGY))

lint: setup ## the static checks
	$(PYTHON) tests/run.py $(GATES)

bench: setup ## the benchmarks of tests/bench
	@for script in $(wildcard tests/bench/bench_*.py); do echo "== $$script"; $(PYTHON) "$$script" || exit; done

docs: setup ## the tables of the roles' READMEs and docs/reference
	$(PYTHON) tests/tools/role_docs.py

build: setup ## the collection's tarball in build/
	ansible-galaxy collection build --force --output-path build
