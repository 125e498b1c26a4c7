# Pinhole: a virtual capture card that testifies. `make` alone shows help.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c

TARGET  := target/x86_64-unknown-linux-gnu/release
PINHOLE := $(TARGET)/pinhole
KERNEL  ?= trixie
KIND    ?= capture
OUT     ?= out
FUZZ_SECONDS ?= 600
# Seconds that a program of tests may take; the longest one boots the guests.
TEST_LIMIT ?= 4500

# The tests beside the code compile much sooner if it is not optimised. All others
# are of the library and the programs as they are released.
QUICKLY_COMPILED := 'profile.release.package.pinhole.opt-level=0'

# Where `make install` puts things; DESTDIR stands before all of them.
PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBEXECDIR ?= $(PREFIX)/libexec
DATADIR    ?= $(PREFIX)/share
UNITDIR    ?= $(PREFIX)/lib/systemd/system

.DEFAULT_GOAL := help

##@ Use

.PHONY: capture
capture: build ## Boot a stock kernel, capture 60 frames at 1280x720 by USERPTR, verify every byte
	$(PINHOLE) capture --kernel $(KERNEL) --frames 60 --size 1280x720 --out $(OUT)/capture

.PHONY: play
play: build ## The other direction: play 60 frames to an output card, verify every byte played
	$(PINHOLE) play --kernel $(KERNEL) --frames 60 --size 1280x720 --out $(OUT)/play

.PHONY: shell
shell: build ## The same guest with its console on this terminal (KERNEL=bookworm for another, KIND=m2m for another card)
	$(PINHOLE) shell --kernel $(KERNEL) --kind $(KIND)

.PHONY: guests
guests: build ## Build every guest and the QEMU they run in, into the cache
	$(PINHOLE) guest build all

.PHONY: install
install: ## Install what is built: programs, manual, completions, units (PREFIX, DESTDIR)
	@test -x $(PINHOLE) || { echo "run make build first, as the user who builds" >&2; exit 2; }
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(LIBEXECDIR) $(UNITDIR) $(DATADIR)/pinhole \
	  $(DATADIR)/man/man1 $(DATADIR)/bash-completion/completions \
	  $(DATADIR)/zsh/site-functions $(DATADIR)/fish/vendor_completions.d)
	install -s -m 755 $(PINHOLE) $(TARGET)/pinhole-agent $(DESTDIR)$(BINDIR)
	ln -sf $(BINDIR)/pinhole $(DESTDIR)$(LIBEXECDIR)/vhost-user-media
	$(PINHOLE) man $(DESTDIR)$(DATADIR)/man/man1
	$(PINHOLE) completions bash >$(DESTDIR)$(DATADIR)/bash-completion/completions/pinhole
	$(PINHOLE) completions zsh >$(DESTDIR)$(DATADIR)/zsh/site-functions/_pinhole
	$(PINHOLE) completions fish >$(DESTDIR)$(DATADIR)/fish/vendor_completions.d/pinhole.fish
	install -m 644 share/pinhole.socket $(DESTDIR)$(UNITDIR)
	sed 's|@BINDIR@|$(BINDIR)|' share/pinhole.service.in >$(DESTDIR)$(UNITDIR)/pinhole.service
	sed 's|@LIBEXECDIR@|$(LIBEXECDIR)|' share/50-pinhole.json.in \
	  >$(DESTDIR)$(DATADIR)/pinhole/50-pinhole.json
	install -m 644 docs/libvirt.xml $(DESTDIR)$(DATADIR)/pinhole

##@ Develop

.PHONY: setup
setup: ## Install the packages that building and running need (Debian, as root)
	@images/setup.sh

.PHONY: build
build: setup ## Build the card, the rig and the guest's agent
	cargo build --release --locked --bins

.PHONY: checked
checked: build ## Build the guests whose kernels check themselves (KASAN, lockdep, ...)
	$(PINHOLE) guest build checked

.PHONY: test
test: export TEST_LIMIT := $(TEST_LIMIT)
test: export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER := $(CURDIR)/tests/limit.sh
test: guests ## Run everything: units, protocol tests, and the tests that boot guests
	@images/setup.sh chromium fonts-dejavu-core valgrind
	$(PINHOLE) guest build trixie-checked
	cargo test --release --locked --lib --config $(QUICKLY_COMPILED)
	cargo test --release --locked --test '*'
	cargo test --release --locked --test report_page -- --ignored
	cargo test --release --locked --test debian_13 -- --ignored
	cargo test --release --locked --test vm -- --ignored --test-threads=2

.PHONY: matrix
matrix: guests ## Run the whole userptr matrix on every kernel, with the driver's mutants
	$(PINHOLE) matrix --kernel all --mutants --out $(OUT)/matrix

.PHONY: matrix-checked
matrix-checked: checked ## The same on the kernels that check themselves
	$(PINHOLE) matrix --kernel checked --mutants --out $(OUT)/matrix-checked

.PHONY: frame-vector-doc
frame-vector-doc: guests checked ## Ask all kernels about frame vectors, and write docs/frame-vector.md
	$(PINHOLE) frame-vector --kernel all,checked --markdown >docs/frame-vector.md.new
	mv docs/frame-vector.md.new docs/frame-vector.md

.PHONY: bench-guest
bench-guest: guests ## Measure in guests: streams beside vivid's, pins, timestamps, boots
	$(PINHOLE) bench --kernel all --ram 2G

.PHONY: matrix-doc
matrix-doc: matrix matrix-checked ## Run both, and write docs/matrix.md
	$(PINHOLE) report merge $(OUT)/matrix $(OUT)/matrix-checked --out $(OUT)/matrix-all
	$(PINHOLE) report markdown $(OUT)/matrix-all >docs/matrix.md.new
	mv docs/matrix.md.new docs/matrix.md

# What `make lint` runs of Rust's own, which may not have come with it.
.PHONY: linters
linters:
	@for tool in fmt clippy; do cargo $$tool --version >/dev/null 2>&1 || { \
	  echo "make lint takes rustfmt and clippy: install them by \`rustup component add rustfmt clippy\`, or" \
	    "from where rustc came by \`apt-get install rustfmt rust-clippy\`" >&2; exit 2; }; done

.PHONY: lint
lint: linters build ## Check formatting and the driver's floors; no word of clippy's, checkpatch.pl's or sparse's
	cargo fmt --check
	tests/floors.sh
	cargo clippy --release --locked --all-targets -- -D warnings
	cargo clippy --release --locked --no-default-features --lib --bins -- -D warnings
	$(PINHOLE) driver lint

.PHONY: driver-builds
driver-builds: build ## Build the driver for the kernels between, without a warning
	$(PINHOLE) driver builds

.PHONY: fuzz
fuzz: setup ## Feed the card, and its front ends' socket, any bytes, for FUZZ_SECONDS (600) each
	fuzz/build.sh $(CURDIR)/target/fuzz
	for target in card m2m vhost; do \
	  mkdir -p target/fuzz/corpus/$$target; \
	  target/fuzz/x86_64-unknown-linux-gnu/release/$$target -max_total_time=$(FUZZ_SECONDS) \
	    -max_len=4096 -timeout=60 -artifact_prefix=target/fuzz/ \
	    target/fuzz/corpus/$$target fuzz/corpus/$$target; \
	done

.PHONY: bench
bench: setup ## Measure the frame path: copies, drawing, the witness, films, a running card
	cargo bench --locked

.PHONY: performance-doc
performance-doc: guests ## The same and in a guest, into docs/performance.md
	mkdir -p $(OUT)/performance
	rm -rf target/criterion
	cargo bench --locked --bench convert --bench dma --bench render
	cargo bench --locked --bench daemon >$(OUT)/performance/daemon.md
	$(PINHOLE) bench --kernel $(KERNEL) >$(OUT)/performance/guest.txt
	cargo bench --locked --bench performance -- $(OUT)/performance >docs/performance.md.new
	mv docs/performance.md.new docs/performance.md

.PHONY: compliance
compliance: guests ## Have v4l2-compliance judge the cards on every kernel, into docs/compliance.md (COMPLIANCE="--kernel trixie" judges there alone)
	mkdir -p $(OUT)
	$(PINHOLE) compliance --keep $(OUT)/compliance $(COMPLIANCE) >$(OUT)/compliance.md
	mv $(OUT)/compliance.md docs/

.PHONY: clean
clean: ## Remove what was built here (the cache of guests stays: `pinhole guest remove --all`)
	cargo clean
	rm -rf $(OUT)

.PHONY: help
help: ## Show this help
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nPINHOLE_MIRROR=URL overrides the Debian mirror that the guests are built from.\n'
