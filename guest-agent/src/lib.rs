//! The wire protocol between xtask on the host and the agent in a guest.
