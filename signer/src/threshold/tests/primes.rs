//! Published primes are known by their digests, and only test builds accept them.

use std::time::{Duration, Instant};

use crate::threshold::{Cancel, Primes, PrimesError, generate_primes};

/// The published primes of party 0, encoded as a node stores its own.
fn published() -> Vec<u8> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/threshold/test_primes/0.json"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let primes: cggmp24::PregeneratedPrimes = serde_json::from_str(&text).unwrap();
    let mut bytes = Vec::new();
    ciborium::into_writer(&primes, &mut bytes).unwrap();
    bytes
}

#[test]
#[cfg(not(feature = "test-primes"))]
fn a_real_node_refuses_the_published_primes() {
    use crate::threshold::{AuxInfo, ShareError};

    assert_eq!(
        Primes::from_bytes(&published()).unwrap_err(),
        ShareError::TestPrimes
    );
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/threshold/test_primes/aux-3-1.cbor"
    );
    let mut bytes = Vec::new();
    ciborium::into_writer(&(3_u16, 1_u16), &mut bytes).unwrap();
    bytes.extend(std::fs::read(path).unwrap());
    assert_eq!(
        AuxInfo::from_bytes(&bytes).unwrap_err(),
        ShareError::TestPrimes
    );
}

#[test]
#[cfg(feature = "test-primes")]
fn a_test_build_accepts_the_published_primes() {
    use crate::threshold::{Parameters, PartyIndex, test_material};

    let primes = Primes::from_bytes(&published()).unwrap();
    let embedded = test_material::primes(PartyIndex(0)).unwrap();
    assert_eq!(primes.to_sealed_bytes(), embedded.to_sealed_bytes());
    for n in [2, 3, 4, 5] {
        let parameters = Parameters::new(n / 2 + 1, n).unwrap();
        for me in parameters.everyone() {
            assert!(
                test_material::aux_info(parameters, me)
                    .unwrap()
                    .load(false)
                    .is_ok()
            );
        }
    }
}

#[test]
fn every_published_prime_is_on_the_list_of_digests() {
    for party in 0..5 {
        let path = format!(
            "{}/src/threshold/test_primes/{party}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(path).unwrap();
        let primes: cggmp24::PregeneratedPrimes = serde_json::from_str(&text).unwrap();
        for prime in primes.primes_ref() {
            assert!(crate::threshold::cggmp24::is_test_prime(prime));
        }
    }
}

#[test]
fn damaged_primes_are_refused() {
    let bytes = published();
    assert!(Primes::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    assert!(Primes::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn prime_generation_stops_soon_after_it_is_cancelled() {
    let cancel = Cancel::default();
    let stop = cancel.clone();
    let cancelled = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        stop.cancel();
        Instant::now()
    });
    let mut reports = Vec::new();
    let result = generate_primes(|progress| reports.push(progress.found), &cancel);
    assert_eq!(result.unwrap_err(), PrimesError::Cancelled);
    assert!(cancelled.join().unwrap().elapsed() < Duration::from_secs(5));
    assert_eq!(reports.first(), Some(&0));
}
