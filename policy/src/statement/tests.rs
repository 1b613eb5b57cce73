//! Envelopes become statements only when everything about them is right.

mod content;
mod golden;
mod hostile;
mod properties;
