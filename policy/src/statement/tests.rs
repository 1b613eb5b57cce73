//! Envelopes become statements only when everything about them is right.
