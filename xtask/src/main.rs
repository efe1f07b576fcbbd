//! The command line of `cargo xtask`.

fn main() {
    // What this serves unshares, and must have no threads: it comes before everything else.
    xtask::isolation::hidden_entry();
}
