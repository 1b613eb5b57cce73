//! What holds for all values.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::canonical;
use crate::testing::{Sample, TestDeployment, open_as, samples};
use crate::{Envelope, IdentityKey};

static DEPLOYMENT: LazyLock<TestDeployment> =
    LazyLock::new(|| TestDeployment::with_single_keys(3, 2));
static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| samples(&DEPLOYMENT));

/// Any JSON value that canonical JSON can hold.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53) + 1..(1_i64 << 53)).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map("[ -~]{0,8}", inner, 0..8)
                .prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_and_written_the_same(value in json()) {
        let bytes = canonical::to_vec(&value).unwrap();
        let read: Value = canonical::from_slice(&bytes, usize::MAX).unwrap();
        prop_assert_eq!(&read, &value);
        prop_assert_eq!(canonical::to_vec(&read).unwrap(), bytes);
    }

    #[test]
    fn what_is_read_is_its_own_encoding(value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = canonical::to_vec(&value).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = canonical::from_slice::<Value>(&bytes, usize::MAX) {
            prop_assert_eq!(canonical::to_vec(&read).unwrap(), bytes);
        }
    }

    #[test]
    fn numbers_that_readers_disagree_about_are_never_written(number in prop_oneof![
        any::<f64>().prop_map(Value::from),
        ((1_u64 << 53)..).prop_map(Value::from),
        (i64::MIN..=-(1_i64 << 53)).prop_map(Value::from),
    ]) {
        prop_assume!(!number.is_null());
        prop_assert!(matches!(canonical::to_vec(&number), Err(canonical::CanonicalError::Number(_))));
    }

    #[test]
    fn any_envelope_survives_json(
        payload_type in "[ -~]{0,128}",
        payload in prop::collection::vec(any::<u8>(), 0..500),
        keyid in "\\PC{0,20}",
        seed in any::<[u8; 32]>(),
    ) {
        let key = IdentityKey::from_seed(&seed);
        let mut envelope = Envelope::sign(&payload_type, payload, &keyid, &key);
        envelope.add_signature("second", &key).unwrap();
        let json = serde_json::to_vec(&envelope).unwrap();
        let read: Envelope = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(&read, &envelope);
        prop_assert_eq!(read.digest(), envelope.digest());
        prop_assert_eq!(serde_json::to_vec(&read).unwrap(), json);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Whatever a byte of a signed envelope becomes: it is refused, or it is still exactly the same statement.
    #[test]
    fn a_changed_envelope_never_verifies_as_something_else(
        sample in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let sample = &SAMPLES[sample.index(SAMPLES.len())];
        let mut json = serde_json::to_vec(&sample.envelope).unwrap();
        for (at, byte) in edits {
            let at = at.index(json.len());
            json[at] = byte;
        }
        if let Ok(envelope) = serde_json::from_slice::<Envelope>(&json)
            && let Ok(digest) = open_as(&DEPLOYMENT, sample.kind, &envelope)
        {
            prop_assert_eq!(digest, sample.envelope.digest());
            prop_assert_eq!(envelope.payload(), sample.envelope.payload());
        }
    }

    /// The same, with the edit inside the signed payload.
    #[test]
    fn a_changed_payload_never_verifies(
        sample in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let sample = &SAMPLES[sample.index(SAMPLES.len())];
        let mut form: Value = serde_json::to_value(&sample.envelope).unwrap();
        let mut payload = sample.envelope.payload().to_vec();
        let at = at.index(payload.len());
        payload[at] ^= flip;
        use base64::Engine as _;
        form["payload"] = base64::engine::general_purpose::STANDARD.encode(payload).into();
        let envelope: Envelope = serde_json::from_value(form).unwrap();
        prop_assert!(open_as(&DEPLOYMENT, sample.kind, &envelope).is_err());
    }
}
