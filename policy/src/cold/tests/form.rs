//! The bytes themselves.

use super::*;
use crate::canonical::CanonicalError;

fn bytes(deployment: &TestDeployment) -> Vec<u8> {
    usdt(deployment).to_bytes().unwrap()
}

fn why(deployment: &TestDeployment, bytes: &[u8]) -> PackageError {
    opened_bytes(deployment, bytes).expect_err("the package was taken")
}

#[test]
fn a_package_that_was_cut_anywhere_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let whole = bytes(&deployment);
    for cut in (0..whole.len()).step_by(997).chain([whole.len() - 1]) {
        let why = why(&deployment, &whole[..cut]);
        assert!(matches!(why, PackageError::Malformed(_)), "{cut}: {why:?}");
    }
}

#[test]
fn a_package_of_which_any_byte_was_changed_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let whole = bytes(&deployment);
    for at in (0..whole.len()).step_by(613) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert!(opened_bytes(&deployment, &changed).is_err(), "byte {at}");
    }
}

#[test]
fn bytes_behind_a_package_are_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut longer = bytes(&deployment);
    longer.push(b'\n');
    let why = why(&deployment, &longer);
    assert!(
        matches!(
            why,
            PackageError::Malformed(CanonicalError::NotCanonical(_))
        ),
        "{why:?}"
    );
}

#[test]
fn a_field_twice_or_one_that_nobody_knows_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let whole = String::from_utf8(bytes(&deployment)).unwrap();
    for inserted in [r#"{"a":1,"#, r#"{"genesis":"0","#] {
        let changed = whole.replacen('{', inserted, 1);
        let why = why(&deployment, changed.as_bytes());
        assert!(matches!(why, PackageError::Malformed(_)), "{why:?}");
    }
}

#[test]
fn a_package_of_an_older_or_newer_format_is_refused_by_name() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    for version in [0, 2] {
        let mut package = usdt(&deployment);
        package.version = version;
        assert_refused!(&deployment, &package, PackageError::Version { found } if found == u64::from(version));
    }
}

#[test]
fn another_kind_of_file_is_refused_by_name() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut package = usdt(&deployment);
    package.package = ResponsePackage::kind();
    assert_refused!(&deployment, &package, PackageError::Kind { .. });
}

#[test]
fn a_package_larger_than_any_is_refused_unread() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let why = why(&deployment, &vec![b' '; MAX_PACKAGE + 1]);
    assert!(matches!(why, PackageError::TooLarge { .. }), "{why:?}");
}
