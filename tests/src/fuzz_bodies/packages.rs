//! Bodies for what is carried to and from a machine with no network.

use std::sync::LazyLock;

use countersign_policy::cold::{OrderPackage, RequestPackage, ResponsePackage, Trust, open};
use countersign_policy::testing::cold::{COLD_WALLET, VAULT};
use countersign_policy::testing::transaction::{EXCHANGE, usdt_erc20};
use countersign_policy::testing::{TestDeployment, member};
use countersign_policy::{Hash, Network, Timestamp};

struct Cold {
    genesis: Hash,
    now: Timestamp,
    bytes: Vec<u8>,
}

static COLD: LazyLock<Cold> = LazyLock::new(|| {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let transaction = usdt_erc20(&EXCHANGE, 1_000_000, 0);
    let request = deployment.request("fuzz-1", COLD_WALLET, Network::ETHEREUM, transaction);
    let package = deployment.cold_package(&deployment.bundle(), &request);
    Cold {
        genesis: deployment.genesis_hash(),
        now: deployment.now(),
        bytes: package.to_bytes().expect("a package"),
    }
});

/// Bytes as a package of any kind: what is read is written the same.
pub fn read_package(input: &[u8]) {
    if let Ok(package) = RequestPackage::from_bytes(input) {
        assert_eq!(package.to_bytes().expect("it was read"), input);
    }
    if let Ok(package) = ResponsePackage::from_bytes(input) {
        assert_eq!(package.to_bytes().expect("it was read"), input);
    }
    if let Ok(package) = OrderPackage::from_bytes(input) {
        assert_eq!(package.to_bytes().expect("it was read"), input);
    }
}

/// An honest package, edited: it opens only when nothing was changed.
pub fn mutate_package(edits: &[u8]) {
    let cold = &*COLD;
    let bytes = super::statements::edited(&cold.bytes, edits);
    read_package(&bytes);
    let me = member(VAULT);
    let trust = Trust {
        me: &me,
        genesis: cold.genesis,
        known: None,
    };
    match open(&bytes, &trust, cold.now) {
        Ok(opened) => {
            assert!(bytes == cold.bytes && opened.digest() == Hash::sha256(&bytes));
        }
        Err(_) => assert_ne!(bytes, cold.bytes),
    }
}
