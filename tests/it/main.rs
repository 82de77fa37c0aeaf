//! End-to-end tests, one binary: linking is the slow part.
