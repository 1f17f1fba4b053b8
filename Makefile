# Freshet. `make help` lists what there is to do.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The modules of the workspace; libs/tools is one more, outside it, so that what
# pins linters and generators does not choose the versions services are built with.
MODULES = $(shell go list -m -f '{{.Dir}}')
TOOLS   = libs/tools
LINTER  = .cache/tools/golangci-lint-$(LINT_VERSION)
LINT_VERSION = $(shell awk '$$1 == "github.com/golangci/golangci-lint/v2" {print $$2}' $(TOOLS)/go.mod)
TESTFLAGS ?=

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: prerequisites
prerequisites:
	@.ci/prerequisites

.PHONY: build
build: prerequisites ## build ./bin/freshet
	go build -o bin/freshet ./cmd/freshet

.PHONY: demo
demo: build ## run the main job on real flights
	./bin/freshet demo

.PHONY: test
test: prerequisites ## run all tests; TESTFLAGS=-race for the race detector
	cd $(TOOLS) && GOWORK=off go run ./testsum -root ../.. $(TESTFLAGS)

.PHONY: lint
lint: $(LINTER) ## run the linters over every module, and show that they refuse a forbidden import
	$(LINTER) run $(addsuffix /...,$(MODULES))
	cd $(TOOLS) && GOWORK=off $(CURDIR)/$(LINTER) run ./...
	@.ci/forbidden-import $(CURDIR)/$(LINTER)
	@$(MAKE) --no-print-directory purity

.PHONY: words
words: ## refuse words of .ci/words.txt, which have a better term, in names and messages
	cd $(TOOLS) && GOWORK=off go run ./words -root ../..

.PHONY: purity
purity: ## check that every service's fold depends on the log alone
	cd $(TOOLS) && GOWORK=off go run ./purity -root ../..

$(LINTER):
	cd $(TOOLS) && GOWORK=off go build -o $(CURDIR)/$(LINTER) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: generate
generate: prerequisites ## write everything that is generated: events, AsyncAPI, what follows from the list of services, tables in READMEs, module files, the reference of the command line
	cd $(TOOLS) && GOWORK=off go run ./eventsgen -root ../..
	cd $(TOOLS) && GOWORK=off go run ./servicesgen -root ../..
	cd $(TOOLS) && GOWORK=off go run ./modules -root ../..
	cd cmd/freshet && go generate ./internal/cli

.PHONY: describe-api
describe-api: prerequisites ## write contracts/openapi.json, after a route changed
	cd cmd/freshet && go test -count=1 -run '^TestTheDescription' ./internal/suite -update

.PHONY: api-lint
api-lint: ## lint contracts/openapi.json and contracts/asyncapi.yaml with public linters, without a network (needs Node.js)
	contracts/lint/run

.PHONY: new-service
new-service: ## add a service that builds, runs and has tests: NAME=pricing OWNER=@team
	cd $(TOOLS) && GOWORK=off go run ./scaffold service -root ../.. -name '$(NAME)' -owner '$(OWNER)'
	@$(MAKE) --no-print-directory describe-api

.PHONY: new-event
new-event: ## add an event type of a service: SERVICE=pricing NAME=price_changed KIND=fact (or decision)
	cd $(TOOLS) && GOWORK=off go run ./scaffold event -root ../.. -service '$(SERVICE)' -name '$(NAME)' -kind '$(KIND)'

.PHONY: check-generated
check-generated: ## regenerate and fail if anything changed
	@.ci/unchanged make --no-print-directory generate

.PHONY: golden-digests
golden-digests: ## write what every fold makes of the golden log, after a fold changed and its FoldVersion was raised
	cd cmd/freshet && go test -count=1 -run '^TestUpgrade' -v ./internal/golden -update
	git --no-pager diff --stat -- cmd/freshet/internal/golden/testdata

# Its path is in the log, so it is the same on every machine.
GOLDEN_DIR = /tmp/freshet-golden

.PHONY: golden
golden: ## record the golden log anew, from the demo: only when contracts break or there is something new to record
	test ! -e $(GOLDEN_DIR)
	cd cmd/freshet && go run ./internal/golden/record -data-dir $(GOLDEN_DIR) -out internal/golden/testdata/log.jsonl.gz
	rm -rf $(GOLDEN_DIR)
	rm -f cmd/freshet/internal/golden/testdata/digests.json
	$(MAKE) --no-print-directory golden-digests

.PHONY: compat
compat: ## compare the contracts with the newest release, or with BASE (a Git revision); fail where an old reader would break
	cd $(TOOLS) && GOWORK=off go run ./compat -root ../.. $(if $(BASE),-base $(BASE))

.PHONY: tidy-check
tidy-check: ## fail if a go.mod is not tidy
	@failed=0; \
	for m in $(MODULES) $(CURDIR)/$(TOOLS); do \
		echo "tidy $${m#$(CURDIR)/}"; (cd $$m && GOWORK=off go mod tidy -diff) || failed=1; \
	done; exit $$failed

.PHONY: tidy
tidy: ## tidy every go.mod
	@for m in $(MODULES) $(CURDIR)/$(TOOLS); do (cd $$m && GOWORK=off go mod tidy); done

.PHONY: standalone
standalone: ## build each module outside the workspace, with its tests
	@for m in $(MODULES); do echo "standalone $${m#$(CURDIR)/}"; (cd $$m && GOWORK=off go build -o /dev/null ./... && GOWORK=off go vet ./...); done

.PHONY: bench
bench: build ## run the benchmarks; each prints a ratio (with a JDK and Maven also beside Axon Framework)
	cd bench && go run ./eventpath
	cd bench && go run ./replay
	cd bench && go run ./footprint -freshet $(CURDIR)/bin/freshet

# 0 rounds are one of every kind of fault.
ROUNDS ?= 0
SEED   ?= 1
FROM   ?= 0
# kfake, which a suite embeds, or apache, which is fetched with Maven.
KAFKA  ?= kfake
# Where rounds are many, servers stay away for minutes and not for seconds, promises are
# kept in full before, and some more rounds are on Apache Kafka after them.
MANY   = $(shell if [ $(ROUNDS) -ge 200 ]; then echo many; fi)
OUTAGE ?= $(if $(MANY),2m)
# Events per second of each producer: a single round of each kind is a quick look.
RATE   ?= $(if $(filter 0,$(ROUNDS)),2,4)

.PHONY: services
services: prerequisites ## build each service's own binary into ./bin/services
	go build -o bin/services/ $(addprefix ./,$(wildcard services/*/cmd/*))

# The tests of what is promised, wherever they are.
PROMISES = $(shell git grep -l 'func TestPromise[0-9]' -- '*_test.go' | xargs -n 1 dirname | sort -u)

.PHONY: promises
promises: ## the tests of the promises with all the rounds and events that were promised
	FRESHET_PROMISES=full go test $(addprefix ./,$(PROMISES)) -run '^TestPromise' -count=1 -timeout 2h

.PHONY: chaos
chaos: services build ## inject faults into the suite's processes: ROUNDS=200 SEED=1 KAFKA=apache; FROM=12 ROUNDS=1 to see one round again
	go build -o bin/chaos ./chaos/cmd/chaos
	./bin/freshet nats-users >bin/nats-users.json
	@$(if $(MANY),$(MAKE) --no-print-directory promises)
	./bin/chaos -rounds $(ROUNDS) -seed $(SEED) -from $(FROM) -rate $(RATE) -kafka $(KAFKA) \
		$(if $(MANY),-then-apache $(if $(filter kfake,$(KAFKA)),20,0)) $(if $(OUTAGE),-outage $(OUTAGE))

.PHONY: fault-tests
fault-tests: build ## what is promised where the log is damaged or abused, of a binary: FRESHET_BIN, and FRESHET_OLDER_BIN for a data directory made before
	cd chaos && FRESHET_BIN=$(abspath $(or $(FRESHET_BIN),bin/freshet)) go test -count=1 -v ./faults

.PHONY: fuzz
fuzz: ## fuzz the codec for a minute
	cd events && go test -run '^$$' -fuzz '^FuzzDecode$$' -fuzztime 45s .
	cd events && go test -run '^$$' -fuzz '^FuzzDecodeHTTPHeader$$' -fuzztime 15s .
	cd events && go test -run '^$$' -fuzz '^FuzzCheck$$' -fuzztime 15s ./internal/strictjson

.PHONY: ci
ci: ## what continuous integration runs
	.ci/run
