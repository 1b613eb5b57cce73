//! Chains and bundles that must be refused.

mod agreement;
mod chain;
mod content;
mod diff;
mod guards;
mod hsm;
mod nonce_leads;
mod openers;
mod owners;
mod succession;
mod succession_refusals;
