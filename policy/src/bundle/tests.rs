//! Chains and bundles that must be refused.

mod agreement;
mod chain;
mod content;
mod diff;
mod guards;
mod succession;
mod openers;
mod succession_refusals;
