//! What a guest test can ask for.
