# Everything a developer does, by name; `make` alone says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

BIN       := bin/autopilot-mysql
VERSION   := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# Whole clusters share the machine, and what they do is timed: one package after the other.
GOTEST    := go test -p 1
# Tests of the packages wait for a server or two now and then; two at a time leave no processor idle.
UNITTEST  := go test -p 2
UNITTIME  ?= 25m
RULESTIME ?= 45m
E2ETIME   ?= 70m
SOAKTIME  ?= 4h
STATES    ?= 2000000
CHAOS_TIME ?= 10m
BENCHTIME ?= 6h
FUZZTIME  ?= 30s
NAME      ?= .
IMAGE     ?= autopilot-mysql
# Where programs are kept that tests need and no package brings.
PARTS     := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/autopilot-mysql/parts

.DEFAULT_GOAL := help
.PHONY: help build demo parts test check unit unit-servers unit-rules e2e current soak explore chaos chaos-totals bench lint fuzz docs docs-check image image-local clean conformance monitoring

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the binary, bin/autopilot-mysql
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN) ./cmd/autopilot-mysql

demo: build ## a real cluster on this machine fails over before your eyes
	$(BIN) demo

parts: build ## find or fetch a MySQL server and Consul
	$(BIN) parts

test: check docs-check unit e2e current ## everything that must pass before a merge: check, docs-check, unit, e2e, current

check: ## formatting and go vet
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt these files:" >&2; echo "$$unformatted" >&2; exit 1; fi
	go vet ./...
	go vet -C e2e ./...
	go vet -C docker/example .

# The rules need no server, and have what the servers leave of the processors.
unit: build ## tests of every package: with the race detector against real servers; and the rules, millions of steps
	+@$(MAKE) --no-print-directory -j 2 unit-servers unit-rules

unit-servers: build
	@env=$$($(BIN) parts --env); export $$env; echo "$$env"; \
	$(UNITTEST) -race -timeout $(UNITTIME) $$(go list ./... | grep -v '/roles/internal/')

unit-rules: # one goroutine each: nothing to race, much to wait for
	@nice -n 19 $(UNITTEST) -timeout $(RULESTIME) ./roles/internal/...

# Built from its source module, once.
CONSUL_TEMPLATE := $(PARTS)/consul-template-0.41.1

$(CONSUL_TEMPLATE):
	@echo "building consul-template 0.41.1 (half a minute the first time)"
	mkdir -p $(dir $@)
	cd tools/consul-template && CGO_ENABLED=0 go build -trimpath -o $@ github.com/hashicorp/consul-template

e2e: build $(CONSUL_TEMPLATE) ## tests of the whole: real clusters, real faults
	@env=$$($(BIN) parts --env --haproxy); export $$env; echo "$$env"; \
	export AUTOPILOT_TEST_BINARY=$(CURDIR)/$(BIN) AUTOPILOT_TEST_CONSUL_TEMPLATE=$(CONSUL_TEMPLATE); \
	log=$$(mktemp); trap 'rm -f "$$log"' EXIT; failed=0; \
	(cd e2e && $(GOTEST) -count=1 -v -timeout $(E2ETIME) ./...) | tee "$$log" || failed=$$?; \
	echo "the slowest, in seconds:"; sed -n 's/^--- [A-Z]*: \(Test[^ ]*\) (\(.*\)s)$$/\2 \1/p' "$$log" | sort -rn | awk 'NR <= 25'; \
	exit $$failed

# The current Consul has no package to fetch; it is built from its source module, once.
CURRENT_CONSUL := $(PARTS)/consul-1.22.0

$(CURRENT_CONSUL):
	@echo "building Consul 1.22.0 (about 6 minutes the first time)"
	mkdir -p $(dir $@)
	cd tools/consul && CGO_ENABLED=0 go build -o $@ github.com/hashicorp/consul

current: build $(CURRENT_CONSUL) ## a chosen part of the tests again, on Consul 1.22
	@env=$$($(BIN) parts --env); export $$env; \
	export AUTOPILOT_TEST_BINARY=$(CURDIR)/$(BIN) AUTOPILOT_TEST_CONSUL=$(CURRENT_CONSUL) CONSUL_BIN=$(CURRENT_CONSUL); \
	$(CURRENT_CONSUL) version | sed -n 1p; \
	$(GOTEST) -count=1 -timeout $(UNITTIME) ./election/...; \
	cd e2e && $(GOTEST) -count=1 -v -timeout $(E2ETIME) -run 'TestSmoke|TestPrimaryKilled|TestHandsOverAtOnce' ./...

# Unpacked, not installed: a developer's machine wants no further service.
PROMETHEUS := $(PARTS)/prometheus

$(PROMETHEUS)/usr/bin/prometheus:
	@command -v apt-get >/dev/null || { echo "only on Debian can Prometheus be fetched; unpack one into $(PROMETHEUS)" >&2; exit 1; }
	mkdir -p $(PROMETHEUS)
	cd $(PROMETHEUS) && (apt-get download prometheus || { apt-get update -q && apt-get download prometheus; }) && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb

monitoring: build $(PROMETHEUS)/usr/bin/prometheus ## the page in a real browser, every alert and the dashboard in a real Prometheus; leaves e2e/reports/monitoring.md, SCREENSHOTS=dir pictures
	@command -v chromium >/dev/null || { echo "installing chromium"; apt-get update -q && apt-get install -q -y --no-install-recommends chromium; }
	@env=$$($(BIN) parts --env); export $$env; \
	export AUTOPILOT_TEST_BINARY=$(CURDIR)/$(BIN) AUTOPILOT_TEST_MONITORING=1 PATH=$(PROMETHEUS)/usr/bin:$$PATH $(if $(SCREENSHOTS),SCREENSHOTS=$(abspath $(SCREENSHOTS))); \
	cd e2e && $(GOTEST) -count=1 -v -timeout $(E2ETIME) -run 'TestMonitoring$$$(if $(NAME:.=),/$(NAME))' .

# Compose v2 has no package either; Docker's own program from its source module, once.
COMPOSE_VERSION := 2.40.3
COMPOSE         := $(PARTS)/docker-compose-$(COMPOSE_VERSION)

$(COMPOSE):
	@echo "building Compose $(COMPOSE_VERSION) (about 2 minutes the first time)"
	mkdir -p $(dir $@)
	cd tools/compose && CGO_ENABLED=0 go build -trimpath -ldflags '-X github.com/docker/compose/v2/internal.Version=v$(COMPOSE_VERSION)' -o $@ github.com/docker/compose/v2/cmd

soak: build $(if $(findstring quiet,$(NAME)),$(PROMETHEUS)/usr/bin/prometheus) $(if $(findstring compose,$(NAME)),$(COMPOSE)) ## long runs under faults; NAME=pattern picks one, SOAK_ROUNDS=n how many
	@env=$$($(BIN) parts --env --haproxy); export $$env; \
	if [ -x $(COMPOSE) ]; then export AUTOPILOT_TEST_COMPOSE=$(COMPOSE); fi; \
	if [ -x $(PROMETHEUS)/usr/bin/prometheus ]; then export AUTOPILOT_TEST_MONITORING=1 PATH=$(PROMETHEUS)/usr/bin:$$PATH; fi; \
	export AUTOPILOT_TEST_BINARY=$(CURDIR)/$(BIN) AUTOPILOT_TEST_SOAK=1 SOAK_ROUNDS=$(SOAK_ROUNDS); \
	cd e2e && $(GOTEST) -count=1 -v -timeout $(SOAKTIME) -run 'TestSoak/$(NAME)' ./...

explore: ## every state of a small cluster, STATES (2000000) within each bound; some minutes and GiB
	AUTOPILOT_TEST_STATES=$(STATES) $(GOTEST) -count=1 -v -timeout 0 -run TestEveryState ./roles/internal/explore

conformance: build ## what every snapshot store must do, on a directory, gofakes3, Manta's stand-in and versitygw (built once); STORE=URL for yours instead
ifdef STORE
	AUTOPILOT_TEST_STORE='$(STORE)' go test -count=1 -v -timeout $(UNITTIME) -run '^TestConformance$$/^named$$' ./snapshot
else
	go test -count=1 -v -timeout $(UNITTIME) -run '^TestConformance$$' ./snapshot
	cd e2e && go test -count=1 -v -timeout $(E2ETIME) -run '^TestStoreConformance$$' .
endif

chaos: build ## a fault campaign for CHAOS_TIME (10m), real partitions included; CHAOS_SEED=n repeats one, see e2e/chaos/README.md
	@env=$$($(BIN) parts --env); export $$env; \
	export AUTOPILOT_TEST_BINARY=$(CURDIR)/$(BIN) CHAOS_TIME=$(CHAOS_TIME); \
	cd e2e && $(GOTEST) -count=1 -v -timeout 0 -run 'TestCampaign$$' ./chaos

chaos-totals: ## sums the reports of all campaigns up into e2e/reports/chaos.md
	cd e2e && CHAOS_TOTALS=1 $(GOTEST) -count=1 -run 'TestTotals$$' ./chaos

bench: build ## the measurements behind the targets; NAME=pattern picks one, docs/benchmarks.md says what each wants
	@command -v sysbench >/dev/null || { command -v apt-get >/dev/null && echo "installing sysbench" && \
		{ apt-get install -q -y --no-install-recommends sysbench || { apt-get update -q && apt-get install -q -y --no-install-recommends sysbench; }; }; } || \
		echo "no sysbench: the throughput is measured with the test's own writers"
	@env=$$($(BIN) parts --env); export $$env; \
	export AUTOPILOT_TEST_BINARY=$(CURDIR)/$(BIN) AUTOPILOT_TEST_BENCH=1; \
	cd e2e && $(GOTEST) -count=1 -v -timeout $(BENCHTIME) -run 'TestBench/$(NAME)' ./bench ./snapbench

# The linter of the version tools/lint/go.mod names, built once: another one has other opinions.
LINT_VERSION := $(shell sed -n 's,.*/golangci-lint/v2 \(v[^ ]*\).*,\1,p' tools/lint/go.mod)
LINTER       := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/autopilot-mysql/tools/golangci-lint-$(LINT_VERSION)

$(LINTER):
	@echo "building golangci-lint $(LINT_VERSION) (about 2 minutes the first time)"
	mkdir -p $(dir $@)
	cd tools/lint && CGO_ENABLED=0 go build -trimpath -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

lint: check $(LINTER) ## check, and golangci-lint with the linters of .golangci.yml
	@failed=; for module in . e2e docker/example; do \
		echo "golangci-lint: $$module"; (cd $$module && $(LINTER) run --allow-parallel-runners ./...) || failed=1; \
	done; [ -z "$$failed" ]

# Minimising an input that is only new, not bad, may take a minute of nothing else: 20 attempts are enough. And Go before
# 1.27 may fail a target at the end of its time without any input to show for it (golang/go#75804): that is no finding.
fuzz: ## every fuzz target for FUZZTIME (30s) each
	@out=$$(mktemp); trap 'rm -f "$$out"' EXIT; \
	for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$pkg 2>&1 | tee "$$out" && continue; \
			grep -q '^ *context deadline exceeded' "$$out" && ! grep -q 'Failing input written' "$$out" || exit 1; \
			echo "no input failed: Go ended it late (golang/go#75804)"; \
		done; \
	done

docs: ## write the generated parts of the documentation anew
	go generate ./...

docs-check: ## fail if the generated documentation is not what docs writes
	@sums() { git ls-files -z '*.md' '*.txt' | xargs -0 sha256sum; }; \
	before=$$(sums); go generate ./...; after=$$(sums); \
	if [ "$$before" != "$$after" ]; then echo "make docs has changed these:" >&2; diff <(echo "$$before") <(echo "$$after") | sed -n 's/^> [0-9a-f]*//p' >&2; exit 1; fi

EXAMPLE := docker/example/bin/example

$(EXAMPLE): $(wildcard docker/example/*.go) docker/example/go.mod
	CGO_ENABLED=0 go build -C docker/example -trimpath -o bin/example .

image: build $(EXAMPLE) ## the container images: ours (BASE_IMAGE=… for another base) and the example application
	docker build -f docker/Dockerfile $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) -t $(IMAGE) .
	docker build -t $(IMAGE)-example docker/example

image-local: build $(EXAMPLE) ## every image compose.yaml names, without pulling any: from Debian packages and source
	@docker/local-images.sh

clean: ## remove what was built
	rm -rf bin dist
