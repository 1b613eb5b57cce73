//! countersign-coordinator
