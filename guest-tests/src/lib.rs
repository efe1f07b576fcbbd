//! Our own guest tests, in `tests/`: they hold the kernels, the image, the agent and `uml-test` to what is
//! promised of them.

pub mod nfs;
