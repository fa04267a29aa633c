//! The end-to-end tests are in `e2e/`; this library is empty so that the package builds.
