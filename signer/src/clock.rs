//! This machine's clock, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_policy::Timestamp;

/// The present. A clock before 1970 reads as 1970, at which everything is "not yet valid" and nothing is signed (I6).
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis());
    Timestamp::from_millis(i64::try_from(since).unwrap_or(0))
}

/// The expiry of statements that stay true: the last millisecond of the year 9999.
pub fn end_of_time() -> Timestamp {
    Timestamp::from_millis(i64::MAX)
}
