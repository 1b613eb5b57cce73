//! See the body of the same name in `countersign_tests::fuzz_bodies`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: countersign_tests::fuzz_bodies::make_shares(),
    |input: &[u8]| countersign_tests::fuzz_bodies::read_share(input)
);
