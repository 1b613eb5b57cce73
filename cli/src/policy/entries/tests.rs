use countersign_policy::Amount;
use countersign_policy::limits::{Measure, Period};

use super::*;

const USDT: &str = "of = \"amount\"\nnetwork = \"eip155:1\"\nasset = \"USDT\"\n";

fn limit(text: &str) -> LimitEntry {
    let text = format!("id = \"l\"\nledger_group = \"main\"\n{text}");
    toml::from_str(&text).unwrap()
}

fn record(text: &str) -> Result<countersign_policy::limits::Limit, Wrong> {
    let names = Names {
        assets: &[],
        address_book: &[],
        reference: None,
    };
    limit(text).record(names).map(|(limit, _)| limit)
}

#[test]
fn spans_are_read_and_written_alike() {
    for (text, period) in [
        ("transaction", Period::Transaction),
        ("outstanding", Period::Outstanding),
        ("90s", Period::Rolling { seconds: 90 }),
        ("90m", Period::Rolling { seconds: 5_400 }),
        ("24h", Period::Rolling { seconds: 86_400 }),
        ("7d", Period::Rolling { seconds: 604_800 }),
    ] {
        let read = record(&format!("{USDT}max = 5\nover = {text:?}")).unwrap();
        assert_eq!(read.period, period, "{text}");
        let written = write_period(&period);
        let again = record(&format!("{USDT}max = 5\nover = {written:?}")).unwrap();
        assert_eq!(again.period, period, "{written}");
    }
    for wrong in ["", "h", "1w", "-1h", "1.5h", "+1h", "99999999999999999999d"] {
        let refused = record(&format!("{USDT}max = 5\nover = {wrong:?}")).unwrap_err();
        assert_eq!(refused.field, "over", "{wrong}");
    }
}

#[test]
fn a_limit_is_in_whole_units_of_what_it_counts() {
    let most = |text: &str| record(&format!("{text}\nover = \"1h\"")).unwrap().measure;
    let usdt = most(&format!("{USDT}max = \"12.5\""));
    assert!(
        matches!(usdt, Measure::Amount { max, .. } if max == Amount::from(12_500_000_u64)),
        "{usdt:?}"
    );
    let fee = most("of = \"fee\"\nnetwork = \"tron:0x2b6653dc\"\nmax = 2");
    assert!(
        matches!(fee, Measure::Fee { max, .. } if max == Amount::from(2_000_000_u64)),
        "{fee:?}"
    );
    assert_eq!(most("of = \"count\"\nmax = 7"), Measure::Count { max: 7 });
}

#[test]
fn what_a_limit_lacks_is_named() {
    for (text, field) in [
        ("of = \"amount\"\nmax = 1\nover = \"1h\"", "of"),
        ("of = \"fee\"\nmax = 1\nover = \"1h\"", "of"),
        ("of = \"value\"\nmax = 1\nover = \"1h\"", "of"),
        (
            "of = \"count\"\nasset = \"USDT\"\nmax = 1\nover = \"1h\"",
            "asset",
        ),
        ("of = \"count\"\nmax = \"1.5\"\nover = \"1h\"", "max"),
        (
            "of = \"count\"\nmax = 1\nover = \"1h\"\ndestination = \"Exchange\"",
            "destination",
        ),
    ] {
        assert_eq!(record(text).unwrap_err().field, field, "{text}");
    }
    let text = format!("{USDT}max = \"0.0000001\"\nover = \"1h\"");
    assert_eq!(record(&text).unwrap_err().field, "max");
}

#[test]
fn an_amount_that_was_rounded_already_is_refused() {
    let error = toml::from_str::<Units2>("max = 0.1").unwrap_err();
    assert!(error.message().contains("quotes"), "{error}");
    let read: Units2 = toml::from_str("max = 12").unwrap();
    assert_eq!(read.max.0, "12");
}

#[derive(Debug, serde::Deserialize)]
struct Units2 {
    max: Units,
}
