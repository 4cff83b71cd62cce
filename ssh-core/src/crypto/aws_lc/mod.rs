//! The AWS-LC backend.
