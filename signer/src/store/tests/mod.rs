//! The store against real files.

mod support;

mod ledger;
