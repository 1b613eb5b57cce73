//! Chains and bundles that must be refused.
