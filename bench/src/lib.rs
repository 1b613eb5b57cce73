//! countersign-bench
