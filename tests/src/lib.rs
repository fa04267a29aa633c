//! The end-to-end tests lie in `e2e/`; this library is empty so that the package builds by itself.
