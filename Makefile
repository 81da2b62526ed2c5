# make run      serve on 127.0.0.1: Kafka 9092, Fluss 9123, HTTP 9180 (ARGS="--set …" for more)
# make test     all tests of the workspace
# make lint     format, clippy, documentation, directions, licences, generated files
# make compat   real clients of both worlds against the broker
# make demo     order events in over one wire and out over both
# make bench    measure beside Apache Kafka and Apache Fluss
# make soak     the long counts: kill rounds, simulation seeds, hostile clients
# make fuzz     every fuzz target for SECONDS=60 each; needs a nightly Rust
# make generate write the files that are made from tables
#
# Rust is needed; what else is missing is installed where that is allowed. Builds lie in
# $VLTAVA_CACHE (default ~/.cache/vltava), outside the checkout.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test lint compat demo bench soak fuzz generate needs needs-compat

ENVIRONMENT := source .ci/environment

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

needs:
	@.ci/needs build

needs-compat:
	@.ci/needs compat

run: needs
	@$(ENVIRONMENT); exec cargo run --quiet --release --locked --package vltava -- serve $(ARGS)

test: needs
	@$(ENVIRONMENT); cargo test --quiet --no-fail-fast --locked --workspace $(ARGS)

lint: needs-compat
	@.ci/lint

generate: needs
	@$(ENVIRONMENT); cargo run --quiet --package vltava -- config-docs

compat: needs-compat
	@$(ENVIRONMENT); compat-tests/run $(ARGS)

demo: needs-compat
	@$(ENVIRONMENT); compat-tests/demo $(ARGS)

bench: needs-compat
	@$(ENVIRONMENT); compat-tests/bench/run $(ARGS)

soak: needs-compat
	@$(ENVIRONMENT); compat-tests/soak $(ARGS)

fuzz: needs
	@$(ENVIRONMENT); SECONDS_EACH=$(or $(SECONDS),60) protocol/fuzz/run $(ARGS)
