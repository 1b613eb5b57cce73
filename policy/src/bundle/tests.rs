//! Chains and bundles that must be refused.

mod agreement;
mod chain;
mod content;
mod openers;
mod owners;
mod succession;
