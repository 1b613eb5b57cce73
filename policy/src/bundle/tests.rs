//! Chains and bundles that must be refused.

mod chain;
mod content;
mod openers;
mod owners;
