//! What counts, what does not, and what is enough.

mod counting;
mod enough;
