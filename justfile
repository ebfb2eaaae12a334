# What CI does.
check:
    .ci/run

# The tests that need nothing but the Rust toolchain.
test:
    cargo test --workspace

# Figures of the hot paths.
bench:
    cargo bench

# A fleet on a simulated Discord.
demo:
    cargo run --release -- up --sim 8
