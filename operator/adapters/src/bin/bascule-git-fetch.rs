//! The child of a fetch as a program of its own, for tests of the adapter.

fn main() -> std::process::ExitCode {
    bascule_adapters::git::child_main()
}
