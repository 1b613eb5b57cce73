//! This machine's clock, read in one place.

mod watch;

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_policy::Timestamp;

pub use watch::ClockWatch;

/// The present. A clock before 1970 reads as 1970, at which everything is "not yet valid" and nothing is signed (I6).
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis());
    let millis = i64::try_from(since).unwrap_or(0);
    #[cfg(feature = "fault-injection")]
    let millis = millis.saturating_add(skew_for_tests());
    Timestamp::from_millis(millis)
}

/// The expiry of statements that stay true: the last millisecond of the year 9999.
pub fn end_of_time() -> Timestamp {
    Timestamp::from_millis(i64::MAX)
}

/// The environment variable that sets the clock of a node under test wrong, by so many milliseconds.
#[cfg(feature = "fault-injection")]
pub const SKEW_FOR_TESTS: &str = "COUNTERSIGN_TEST_CLOCK_SKEW_MS";

#[cfg(feature = "fault-injection")]
fn skew_for_tests() -> i64 {
    static SKEW: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *SKEW.get_or_init(|| {
        std::env::var(SKEW_FOR_TESTS)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    })
}
