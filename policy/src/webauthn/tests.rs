//! Assertions, good and bad.

mod form;
mod refusals;
mod statements;
mod w3c;
