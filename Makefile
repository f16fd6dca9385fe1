# Two commands do everything: `make demo` and `make test`. Both install what is missing.
.PHONY: demo test build bench fuzz fmt docs

CARGO ?= cargo

demo:
	@scripts/setup demo
	$(CARGO) build --release --locked
	./target/release/trunkline demo

test:
	@scripts/setup test
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --lib

build:
	$(CARGO) build --release --locked

bench:
	$(CARGO) bench --locked

# Ten minutes on each target; the committed corpora are replayed by `make test`.
FUZZ_SECONDS ?= 600
fuzz:
	scripts/fuzz $(FUZZ_SECONDS)

fmt:
	$(CARGO) fmt

docs:
	UPDATE_GOLDEN=1 $(CARGO) test --locked --lib -- tests::docs reference_is_current ledger
	UPDATE_GOLDEN=1 $(CARGO) test --locked --test tidy
	UPDATE_GOLDEN=1 $(CARGO) test --locked --test it golden
