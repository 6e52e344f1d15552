# What a person types; CI calls the same targets (.ci/run).

BIN := node_modules/.bin
# Each is touched when its step is done, and goes with the folder it stands for.
INSTALLED := node_modules/.installed
GENERATED := src/gen/.generated
BUILT := dist/.built

PROTOS := $(shell find proto -name '*.proto')
SOURCES := $(shell find src -path src/gen -prune -o \( -name '*.ts' -o -name '*.lua' \) -print)
JEST := node --experimental-vm-modules node_modules/jest/bin/jest.js
CONTRACT := proto/contract.binpb
PACKAGE := dist/package
VERSION = $(shell node -p "require('./package.json').version")
IMAGE = shardkeep:$(VERSION)
DOCKER_BUILD := docker build
MANIFEST_MODELS := k8s/validate/node_modules/.installed
BENCH_PEERS := bench/node_modules/.installed
BENCH_BUILT := dist/bench/.built
# a Redis that is named needs none on this machine
REDIS_NAMED := $(REDIS_URL)$(REDIS_HOST)$(REDIS_PORT)$(CACHE_REDIS_URL)$(STATE_REDIS_URL)

.DEFAULT_GOAL := help
.PHONY: help install redis gen build run try test bench lint docs types proto contract previous-release package client-size image image-test sbom manifests demo examples clean
.DELETE_ON_ERROR:

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(INSTALLED) ## install the npm packages of the lockfile

redis: ## find a redis-server or valkey-server, or install one
	@sh scripts/ensure-redis.sh

gen: $(GENERATED) ## generate TypeScript from proto/

build: $(BUILT) ## compile to dist/

run: install $(if $(REDIS_NAMED),,redis) build ## serve on GRPC_LISTEN (127.0.0.1:50051); Ctrl-C drains and stops
	@exec node scripts/run.mjs

try: gen ## set and get a value on the service that runs at GRPC_LISTEN
	@$(BIN)/tsx scripts/try.ts

test: install redis gen build ## run every test on real Redis; ARGS picks some, and then coverage is left out
	NODE_NO_WARNINGS=1 $(JEST) $(if $(ARGS),$(ARGS),--coverage)

bench: redis build $(BENCH_PEERS) $(BENCH_BUILT) ## measure against named peers; SUITE picks some, QUICK=1 takes 6 minutes
	@$(BIN)/tsx bench/run.ts $(SUITE)

bench-%: ## one suite of the benchmark, such as bench-unary
	@$(MAKE) --no-print-directory bench SUITE=$*

lint: gen ## eslint, formatting, import rules, length of files, licences of dependencies
	$(BIN)/eslint --max-warnings=0 .
	$(BIN)/prettier --check --log-level warn .
	$(BIN)/depcruise --config .dependency-cruiser.mjs src test examples scripts
	node scripts/check-file-length.mjs
	node scripts/check-licences.mjs

docs: gen ## API reference of the TypeScript client and its integrations, in docs/reference
	$(BIN)/typedoc

types: gen ## check the types of everything
	$(BIN)/tsc --noEmit -p tsconfig.json

proto: install ## lint and format check of proto/; no change that breaks the released contract
	$(BIN)/buf lint
	$(BIN)/buf format -d --exit-code
	$(BIN)/buf breaking --against $(CONTRACT)

contract: install ## freeze proto/ as the contract that later changes must not break; only at a release
	$(BIN)/buf build -o $(CONTRACT) --exclude-source-info

previous-release: build ## freeze the service as what the next release must share a Redis with; only at a release
	node scripts/pack-previous-release.mjs

package: install redis build ## pack for npm, lint the package, and use it in a project of its own
	@rm -rf $(PACKAGE)
	@mkdir -p $(PACKAGE)
	npm pack --silent --ignore-scripts --pack-destination $(PACKAGE)
	$(BIN)/publint run --strict $(PACKAGE)/*.tgz
	$(BIN)/attw --profile esm-only --no-definitely-typed --format ascii --no-summary --no-emoji --no-color $(PACKAGE)/*.tgz
	node scripts/check-package.mjs $(PACKAGE)/*.tgz

client-size: build ## what the TypeScript client weighs in a bundle, also for docs/client.md
	@node scripts/client-size.mjs

image: ## build the container image shardkeep:VERSION; its bill of materials is in it
	$(DOCKER_BUILD) -t $(IMAGE) --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) .

image-test: install redis build image ## build the image and try it in containers; needs a container engine
	SHARDKEEP_IMAGE=$(IMAGE) NODE_NO_WARNINGS=1 $(JEST) test/image

sbom: ## the bill of materials of the npm packages that the service runs on, in dist/sbom.cdx.json
	@node scripts/write-sbom.mjs dist/sbom.cdx.json

manifests: $(MANIFEST_MODELS) ## check k8s/ against the API of Kubernetes, of Prometheus' operator and cert-manager
	@cd k8s/validate && PATH="$$PWD/node_modules/.bin:$$PATH" node validate.mjs

demo: install $(if $(REDIS_NAMED),,redis) build ## two shards and 20 simulated players; ARGS for more
	@$(BIN)/tsx examples/tiny-shard/main.ts $(ARGS)

examples: install redis build ## run every example on a service of its own; ARGS picks some by name
	@node scripts/run-examples.mjs $(ARGS)

clean: ## remove what was generated and built
	rm -rf dist coverage src/gen

# Tools of development may ask for a newer Node than the product does, which npm warns of.
$(INSTALLED): package.json package-lock.json
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(GENERATED): $(INSTALLED) $(PROTOS) buf.yaml buf.gen.yaml scripts/protoc-gen-request-shapes.mjs
	$(BIN)/buf generate
	@touch $@

$(BUILT): $(GENERATED) $(SOURCES) tsconfig.json tsconfig.build.json
	@rm -rf dist
	$(BIN)/tsc -p tsconfig.build.json
	@node scripts/copy-lua.mjs
	@touch $@

# The peers and nothing of the product's; h2load is looked for by the suite that uses it.
$(BENCH_PEERS): bench/package.json bench/package-lock.json bench/.npmrc
	cd bench && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# They come with a Node that is new enough for them.
$(MANIFEST_MODELS): k8s/validate/package.json k8s/validate/package-lock.json k8s/validate/.npmrc
	cd k8s/validate && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# What is measured runs as plain JavaScript. It goes with dist/; the link lets it find the peers.
$(BENCH_BUILT): $(BUILT) $(BENCH_PEERS) $(shell find bench -name node_modules -prune -o -name '*.ts' -print) bench/tsconfig.json
	@rm -rf dist/bench
	$(BIN)/tsc -p bench/tsconfig.json
	@node scripts/copy-lua.mjs dist/bench/src
	@ln -s ../../bench/node_modules dist/bench/node_modules
	@touch $@
