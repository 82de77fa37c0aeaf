# The handful of commands people use; `just` lists them.

default:
    @just --list

# Type-check everything
check:
    cargo check --workspace --all-targets

# All tests
test:
    cargo test --workspace

# One group of end-to-end tests, e.g. just it sql
it GROUP:
    cargo test -p generel-jobs --test it -- {{GROUP}}

# Everything CI runs
ci:
    bash .ci/run

# The demo, in ./generel-demo
demo:
    cargo run -- demo

# A benchmark, e.g. just bench embed names.txt
bench NAME *ARGS:
    cargo bench --profile dev -p generel-model --bench {{NAME}} -- {{ARGS}}

# One version each of arrow, datafusion and tokenizers: prints nothing when all is well
tree:
    cargo tree -d -e normal --depth 0 --prefix none | grep -E '^(arrow|datafusion|tokenizers|parquet|candle)' || true
