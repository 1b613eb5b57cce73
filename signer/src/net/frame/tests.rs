//! One encoding, and nothing else is read.

use proptest::prelude::*;

use super::*;

const KINDS: [FrameKind; 5] = [
    FrameKind::Confirm,
    FrameKind::Broadcast,
    FrameKind::PointToPoint,
    FrameKind::Echo,
    FrameKind::Control,
];

fn sample() -> Vec<Frame> {
    let frame = |round, kind, body: &[u8]| Frame {
        channel: Hash::from_bytes([0xc1; 32]),
        execution: Hash::from_bytes([0xe2; 32]),
        round,
        kind,
        from: MemberId::new("node-1").unwrap(),
        to: MemberId::new("node-22").unwrap(),
        body: body.to_vec(),
    };
    vec![
        frame(0, FrameKind::Confirm, b""),
        frame(0x1234, FrameKind::PointToPoint, b"partial signature"),
    ]
}

#[test]
fn the_bytes_on_the_wire_are_pinned() {
    let batch = encode_batch(sample().iter()).unwrap();
    let lines: Vec<String> = batch.chunks(32).map(hex::encode).collect();
    insta::assert_snapshot!(lines.join("\n"));
    let verdicts = [Verdict::Taken, Verdict::Dropped, Verdict::Busy];
    assert_eq!(
        hex::encode(encode_verdicts(&verdicts).unwrap()),
        "435341310003000102"
    );
}

#[test]
fn every_broken_batch_is_refused_for_its_reason() {
    let good = encode_batch(sample().iter()).unwrap();
    let edit = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        decode_batch(&bytes).unwrap_err()
    };
    assert_eq!(edit(0, b'X'), FrameError::Magic);
    assert_eq!(edit(3, b'2'), FrameError::Magic);
    assert_eq!(edit(5, 0), FrameError::Count(0));
    assert_eq!(edit(5, 65), FrameError::Count(65));
    assert_eq!(edit(5, 3), FrameError::Truncated);
    // The first frame starts at 6: channel, execution, round, then the kind.
    let kind = 6 + 32 + 32 + 2;
    assert_eq!(edit(kind, 0), FrameError::Kind(0));
    assert_eq!(edit(kind, 6), FrameError::Kind(6));
    assert_eq!(edit(kind + 1, 0), FrameError::Member);
    assert_eq!(edit(kind + 2, b'N'), FrameError::Member);
    assert_eq!(edit(kind + 2, 0xff), FrameError::Member);
    assert!(matches!(
        edit(kind + 1, 65),
        FrameError::TooLarge {
            what: "member id",
            ..
        }
    ));
    let length = kind + 1 + 7 + 8;
    assert!(matches!(
        edit(length, 1),
        FrameError::TooLarge { what: "body", .. }
    ));
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(decode_batch(&longer), Err(FrameError::Trailing(1)));
    for end in 0..good.len() {
        assert!(decode_batch(&good[..end]).is_err(), "{end}");
    }
    assert_eq!(encode_batch([].iter()), Err(FrameError::Count(0)));
    let many = vec![sample().remove(0); MAX_BATCH_FRAMES + 1];
    assert_eq!(encode_batch(many.iter()), Err(FrameError::Count(65)));
}

#[test]
fn sizes_are_limited_on_both_sides() {
    let with_body = |bytes| Frame {
        body: vec![0; bytes],
        ..sample().remove(0)
    };
    let largest = [with_body(MAX_BODY_BYTES)];
    let batch = encode_batch(largest.iter()).unwrap();
    assert_eq!(decode_batch(&batch).unwrap(), largest);
    let over = [with_body(MAX_BODY_BYTES + 1)];
    assert!(encode_batch(over.iter()).is_err());
    let pair = [with_body(MAX_BODY_BYTES), with_body(MAX_BODY_BYTES)];
    assert!(matches!(
        encode_batch(pair.iter()),
        Err(FrameError::TooLarge { what: "batch", .. })
    ));
    assert!(decode_batch(&vec![0; MAX_BATCH_BYTES + 1]).is_err());
}

#[test]
fn verdicts_are_read_strictly() {
    for bad in [
        &b""[..],
        b"CSA1",
        b"CSA1\0\0",
        b"CSA1\0\x01",
        b"CSA1\0\x01\x03",
        b"CSA1\0\x01\x00\x00",
        b"CSF1\0\x01\x00",
    ] {
        assert!(decode_verdicts(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn debug_never_shows_a_body() {
    let shown = format!("{:?}", sample());
    assert!(!shown.contains("partial") && !shown.contains("112, 97"));
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let frame = (
        any::<[u8; 32]>(),
        any::<[u8; 32]>(),
        any::<u16>(),
        prop::sample::select(&KINDS[..]),
        "[a-z0-9][a-z0-9._-]{0,63}",
        "[a-z0-9][a-z0-9._-]{0,63}",
        prop::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(channel, execution, round, kind, from, to, body)| Frame {
            channel: Hash::from_bytes(channel),
            execution: Hash::from_bytes(execution),
            round,
            kind,
            from: MemberId::new(from).unwrap(),
            to: MemberId::new(to).unwrap(),
            body,
        });
    prop::collection::vec(frame, 1..8)
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(frames in frames()) {
        let batch = encode_batch(frames.iter()).unwrap();
        prop_assert_eq!(decode_batch(&batch).unwrap(), frames);
    }

    #[test]
    fn a_changed_batch_is_refused_or_is_the_one_encoding_of_another(
        frames in frames(), at in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let mut batch = encode_batch(frames.iter()).unwrap();
        let at = at.index(batch.len());
        batch[at] ^= flip;
        if let Ok(other) = decode_batch(&batch) {
            prop_assert_ne!(&other, &frames);
            prop_assert_eq!(encode_batch(other.iter()).unwrap(), batch);
        }
    }
}
