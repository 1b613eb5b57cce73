use countersign_policy::testing::TestDeployment;

use super::*;

#[test]
fn a_chain_without_the_newest_bundle_seen_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("memory.json");
    let old = TestDeployment::new(3, 2);
    remember(&file, &old.chain()).unwrap();
    remember(&file, &old.chain()).unwrap();
    let seen = std::fs::read(&file).unwrap();

    let mut newer: Memory = serde_json::from_slice(&seen).unwrap();
    newer.version += 1;
    newer.digest = Hash::sha256(b"the version after");
    std::fs::write(&file, serde_json::to_vec(&newer).unwrap()).unwrap();
    let refused = remember(&file, &old.chain()).unwrap_err();
    assert_eq!(refused.exit, Exit::Refused);
    assert!(refused.message.contains("old or forged"), "{refused}");
}

#[test]
fn a_memory_that_cannot_be_read_is_no_memory_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("memory.json");
    std::fs::write(&file, b"{").unwrap();
    assert!(remember(&file, &TestDeployment::new(3, 2).chain()).is_err());
}
