//! See the body of the same name in `countersign_tests::fuzz_bodies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| countersign_tests::fuzz_bodies::mutate_package(input));
