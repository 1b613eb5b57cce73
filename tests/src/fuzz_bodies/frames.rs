//! Frames between nodes.

use countersign_signer::net::{decode_batch, decode_verdicts, encode_batch, encode_verdicts};

/// Batches and verdicts: bytes that are read at all are the one encoding of what was read.
pub fn decode_frames(input: &[u8]) {
    if let Ok(frames) = decode_batch(input) {
        let again = encode_batch(frames.iter()).expect("what was decoded can be encoded");
        assert_eq!(again, input, "a second encoding of one batch");
    }
    if let Ok(verdicts) = decode_verdicts(input) {
        let again = encode_verdicts(&verdicts).expect("what was decoded can be encoded");
        assert_eq!(again, input, "a second encoding of the same verdicts");
    }
}
