//! Answers that are changed on their way out: signatures, and sizes.
#![allow(unsafe_code)] // writes to the caller's buffers

use crate::call::Call;

/// The order of secp256k1, big-endian (SEC 2, section 2.4.1).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
    0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

/// Flips one bit of the signature that the call gave out.
pub(crate) fn flip_bit(call: &Call, bit: Option<u32>, draw: u64) {
    with_output(call, |signature| {
        flip(signature, bit.map_or(draw, u64::from))
    });
}

/// Turns (r, s) into (r, n - s).
pub(crate) fn flip_s(call: &Call) {
    with_output(call, |signature| {
        if let Some((_, s)) = <&mut [u8; 64]>::try_from(signature)
            .ok()
            .and_then(|all| all.split_last_chunk_mut::<32>())
        {
            negate(s);
        }
    });
}

/// Adds to the size that the call reported.
pub(crate) fn report(call: &Call, extra: u64) {
    if let Some(length) = call.length() {
        // SAFETY: not null, and the real module has just written the size there.
        unsafe { *length = (*length).saturating_add(extra) };
    }
}

fn with_output(call: &Call, change: impl FnOnce(&mut [u8])) {
    let Some((buffer, length)) = call.buffer() else {
        return;
    };
    // SAFETY: the real module answered CKR_OK, so that `length` says how many bytes of the caller's buffer it wrote.
    let written = unsafe {
        usize::try_from(*length).map(|length| std::slice::from_raw_parts_mut(buffer, length))
    };
    if let Ok(written) = written {
        change(written);
    }
}

fn flip(bytes: &mut [u8], bit: u64) {
    let bits = (bytes.len() as u64).saturating_mul(8);
    let Some(bit) = bit.checked_rem(bits) else {
        return;
    };
    let (byte, bit) = (bit.wrapping_shr(3), bit & 7);
    if let Some(byte) = usize::try_from(byte).ok().and_then(|at| bytes.get_mut(at)) {
        *byte ^= 1u8.wrapping_shl(bit as u32);
    }
}

fn negate(s: &mut [u8; 32]) {
    let mut borrow = false;
    for (digit, order) in s.iter_mut().zip(ORDER).rev() {
        let (difference, one) = order.overflowing_sub(*digit);
        let (difference, two) = difference.overflowing_sub(u8::from(borrow));
        *digit = difference;
        borrow = one || two;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_bit_is_flipped_wherever_the_draw_points() {
        for bit in [0, 1, 511, 512, u64::MAX] {
            let mut bytes = [0u8; 64];
            flip(&mut bytes, bit);
            assert_eq!(
                bytes.iter().map(|b| b.count_ones()).sum::<u32>(),
                1,
                "{bit}"
            );
        }
        flip(&mut [], 3);
    }

    #[test]
    fn s_negated_twice_is_s_and_half_the_order_is_its_own_neighbour() {
        let mut s = [7u8; 32];
        negate(&mut s);
        assert_ne!(s, [7u8; 32]);
        negate(&mut s);
        assert_eq!(s, [7u8; 32]);
        let mut one = [0u8; 32];
        one[31] = 1;
        negate(&mut one);
        assert_eq!((one[31], &one[..31]), (ORDER[31] - 1, &ORDER[..31]));
    }
}
