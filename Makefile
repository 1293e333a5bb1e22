# Each line calls cargo or a script; the scripts say what they do.
LISTEN ?= 127.0.0.1:8080

.PHONY: build image image-shim image-tools bench-pods run spin test test-quick test-avx512 test-neon fuzz lint bench bench-kernels compare clean components help

help:        ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

components: ## the WASI components, those of the tests too, into target/components
	scripts/components.sh
	scripts/components.sh --tests

build: ## target/release/sterna, with the components inside it
	scripts/build.sh release

run: build ## set up, build, and serve the embedded demo model on LISTEN (127.0.0.1:8080)
	target/release/sterna serve --listen $(LISTEN)

spin: build ## target/components/app.wasm, what `spin up` serves
	target/release/sterna bake --spin --relaxed-simd -o target/components/app.wasm

test: ## everything CI runs, in target/test-logs what each step wrote
	scripts/test.sh

test-quick: ## build, lint, unit and property tests
	scripts/test.sh --quick

test-avx512: ## the AVX-512 kernels, on an emulated CPU where this one has none
	scripts/test-avx512.sh

test-neon: ## the NEON kernels, under QEMU where this machine is no ARM
	scripts/test-neon.sh

fuzz: ## everything that parses, a minute each; scripts/fuzz.sh SECONDS TARGET... chooses
	scripts/fuzz.sh

lint: ## formatting and lints alone
	scripts/lint.sh

bench: build ## decode and prefill speed of the 2B-4T shape, beside the machine's limits
	target/release/sterna bench --shape bitnet-2b-4t --head q6_k

bench-kernels: ## every kernel by itself (criterion); BENCH="--bench ternary -- avx2/decode" chooses
	cargo bench -p sterna-kernels $(or $(BENCH),--benches)

compare: build ## beside a peer in alternating runs: PEERS="--peer NAME LLAMA-BENCH MODEL ..."
	scripts/compare.py $(PEERS)

ARCH ?= $(if $(filter aarch64,$(shell uname -m)),arm64,amd64)
image: build ## target/image.tar, a container image with the demo model: made without Docker; ARCH="amd64 arm64" for both
	set -e; hosts=; for arch in $(ARCH); do hosts="$$hosts --host $$(ARCH=$$arch scripts/static.sh release)"; done; \
	  target/release/sterna image $$hosts --model component/engine/models/demo.gguf -o target/image.tar

image-shim: build ## target/image-shim.tar, program and containerd shim, which k8s/shim installs on nodes; ARCH as for `image`
	set -e; parts=; for arch in $(ARCH); do \
	    host=$$(ARCH=$$arch scripts/static.sh release); shim=$$(ARCH=$$arch scripts/shim.sh release); \
	    parts="$$parts --host $$host --shim $$shim"; done; \
	  target/release/sterna image $$parts -o target/image-shim.tar

image-tools: ## target/release/sterna-push and sterna-pull (`sterna push`, `sterna pull`) and the containerd shim
	cargo build --release -p sterna-push
	scripts/shim.sh release

bench-pods: ## pods as a kubelet starts them: times, the memory of 50 and of 200, and how many fill a 4 GB node (root; installs containerd)
	scripts/pods.sh --sizes time --runs 20
	STERNA_PODS_BUILT=1 scripts/pods.sh time --runs 20 --cold shim shim-900 native baked reader-900
	STERNA_PODS_BUILT=1 scripts/pods.sh density 50 shim native
	STERNA_PODS_BUILT=1 scripts/pods.sh --sizes density 10 shim-900 native-900
	STERNA_PODS_BUILT=1 scripts/pods.sh density 200 shim
	STERNA_PODS_BUILT=1 scripts/pods.sh --sizes fill shim shim-900

clean: ## forget everything built
	cargo clean
