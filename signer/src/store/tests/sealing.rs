//! A ciphertext opens where it was sealed and nowhere else; a data key only with its passphrase.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::material::{secret, share_record};
use super::support::*;
use crate::files::SecretFileError;
use crate::store::seal::{Place, Sealer};
use crate::store::{
    DataKey, KekError, KeyEncryptionKey, OpenError, PassphraseKek, SecretKind, Store, StoreError,
};

const PLACE: Place<'static> = Place {
    table: "shares",
    column: "sealed",
    row: "key-1/0",
    key: "key-1",
    generation: 0,
};

#[test]
fn a_ciphertext_opens_at_its_own_place_only() {
    let dek = DataKey::new([7; 32]);
    let sealer = Sealer::new(&dek, member("node-1"));
    let sealed = sealer.seal(PLACE, b"share").unwrap();
    assert_eq!(sealer.open(PLACE, &sealed).unwrap().as_slice(), b"share");
    assert_ne!(
        sealer.seal(PLACE, b"share").unwrap(),
        sealed,
        "a fresh nonce each time"
    );
    let elsewhere = [
        Place {
            table: "secrets",
            ..PLACE
        },
        Place {
            column: "record",
            ..PLACE
        },
        Place {
            row: "key-1/1",
            ..PLACE
        },
        Place {
            key: "key-2",
            ..PLACE
        },
        Place {
            generation: 1,
            ..PLACE
        },
        // Parts cannot be shifted into each other.
        Place {
            row: "key-1/0k",
            key: "ey-1",
            ..PLACE
        },
    ];
    for place in elsewhere {
        assert!(sealer.open(place, &sealed).is_err(), "{place:?}");
        assert_ne!(sealer.tag(place, b"share"), sealer.tag(PLACE, b"share"));
    }
    let other_node = Sealer::new(&dek, member("node-2"));
    assert!(other_node.open(PLACE, &sealed).is_err());
    let other_key = Sealer::new(&DataKey::new([8; 32]), member("node-1"));
    assert!(other_key.open(PLACE, &sealed).is_err());
    for byte in 0..sealed.len() {
        let mut damaged = sealed.clone();
        damaged[byte] ^= 1;
        assert!(sealer.open(PLACE, &damaged).is_err(), "byte {byte}");
    }
    for length in 0..sealed.len() {
        assert!(
            sealer.open(PLACE, &sealed[..length]).is_err(),
            "{length} bytes"
        );
    }
}

async fn two_shares(store: &Store) {
    for (key, generation) in [("key-1", 0), ("key-2", 0), ("key-3", 0), ("key-3", 1)] {
        let record = share_record(key, generation);
        let text = format!("share of {key}/{generation}");
        store
            .put_share(&record, secret(&text), at(0))
            .await
            .unwrap();
    }
    for (kind, name) in [(SecretKind::CggmpPrimes, "a"), (SecretKind::CggmpAux, "a")] {
        store
            .put_secret(kind, name, secret("big numbers"))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_ciphertext_moved_within_the_file_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    two_shares(&store).await;
    let moves = "DROP TRIGGER shares_are_not_updated;
        UPDATE shares SET sealed = (SELECT sealed FROM shares WHERE key = 'key-2') WHERE key = 'key-1';
        UPDATE shares SET sealed = (SELECT sealed FROM shares WHERE key = 'key-3' AND generation = 0)
            WHERE key = 'key-3' AND generation = 1;
        UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE kind = 'cggmp-primes')
            WHERE kind = 'cggmp-aux';";
    store.script(moves).await.unwrap();
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    for key in ["key-1", "key-3"] {
        let error = store
            .load_share(&share_record(key, 0).key)
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Seal(_)), "{key}: {error}");
    }
    let untouched = store
        .load_share(&share_record("key-2", 0).key)
        .await
        .unwrap();
    assert_eq!(untouched.unwrap().1.as_slice(), b"share of key-2/0");
    let error = store.load_aux("a").await.unwrap_err();
    assert!(matches!(error, StoreError::Seal(_)), "{error}");
}

#[tokio::test]
async fn no_secret_stands_in_the_files_in_clear() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    two_shares(&store).await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for needle in [
            b"share of".as_slice(),
            b"big numbers",
            PASSPHRASE.as_bytes(),
        ] {
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert!(
                !found,
                "{} in {}",
                String::from_utf8_lossy(needle),
                path.display()
            );
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    assert!(!format!("{store:?} {:?}", kek(PASSPHRASE)).contains("horse"));
}

#[test]
fn a_data_key_opens_with_its_passphrase_and_store_only() {
    let dek = DataKey::new([9; 32]);
    let key = kek(PASSPHRASE);
    let wrapped = key.wrap(&dek, b"store").unwrap();
    assert_eq!(*key.unwrap(&wrapped, b"store").unwrap(), *dek);
    // Another cost for new keys does not change how old ones open.
    let default_cost = PassphraseKek::new(secret(PASSPHRASE)).unwrap();
    assert_eq!(*default_cost.unwrap(&wrapped, b"store").unwrap(), *dek);
    let refused = |result: Result<DataKey, KekError>| matches!(result, Err(KekError::Refused));
    assert!(refused(key.unwrap(&wrapped, b"another store")));
    assert!(refused(
        kek("another passphrase").unwrap(&wrapped, b"store")
    ));
    for byte in 0..wrapped.len() {
        let mut damaged = wrapped.clone();
        // The low bit of the last byte of each number keeps the derivation cheap.
        damaged[byte] ^= if byte < 16 { 0x80 } else { 1 };
        assert!(key.unwrap(&damaged, b"store").is_err(), "byte {byte}");
    }
    for length in 0..wrapped.len() {
        assert!(key.unwrap(&wrapped[..length], b"store").is_err());
    }
}

#[test]
fn passphrases_are_long_enough_and_private() {
    let new = |text: &str| PassphraseKek::new(secret(text));
    assert!(matches!(new("fifteen bytes.."), Err(KekError::Length(15))));
    assert!(matches!(
        new("fifteen bytes..\n"),
        Err(KekError::Length(15))
    ));
    assert!(matches!(
        new("fifteen bytes..\r\n"),
        Err(KekError::Length(15))
    ));
    assert!(matches!(
        new(&"x".repeat(1025)),
        Err(KekError::Length(1025))
    ));
    assert!(PassphraseKek::new(Zeroizing::new(vec![0xff; 20])).is_err());
    new("sixteen bytes...\n").unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passphrase");
    let missing = PassphraseKek::from_file(&path);
    assert!(matches!(
        missing,
        Err(KekError::File(SecretFileError::Io { .. }))
    ));
    std::fs::write(&path, format!("{PASSPHRASE}\n")).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o660] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let exposed = PassphraseKek::from_file(&path);
        assert!(
            matches!(
                exposed,
                Err(KekError::File(SecretFileError::Exposed { .. }))
            ),
            "{mode:o}"
        );
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let wrapped = kek(PASSPHRASE).wrap(&DataKey::new([1; 32]), b"").unwrap();
    let from_file = PassphraseKek::from_file(&path).unwrap();
    assert_eq!(*from_file.unwrap(&wrapped, b"").unwrap(), [1; 32]);
}

#[tokio::test]
async fn a_store_opens_with_its_own_passphrase_only() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), "node-1").await.close().await;
    let options = options(folder.path(), "node-1");
    let wrong = kek("another passphrase");
    let opened = Store::open(&options, identity("node-1"), &wrong).await;
    assert!(
        matches!(opened, Err(OpenError::Kek(KekError::Refused))),
        "{opened:?}"
    );
    open(folder.path(), "node-1").await;
}

#[tokio::test]
async fn another_key_seals_the_store_while_it_is_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    two_shares(&store).await;
    let (old, new) = (
        Arc::new(kek(PASSPHRASE)),
        Arc::new(kek("quite another passphrase")),
    );
    // Whoever does not hold the key of now changes nothing.
    let stranger = Arc::new(kek("somebody else's passphrase"));
    let refused = store.rekey(stranger, new.clone()).await;
    assert!(
        matches!(refused, Err(OpenError::Kek(KekError::Refused))),
        "{refused:?}"
    );
    let key = share_record("key-1", 0).key;
    let (at_work, rekeyed) = tokio::join!(store.load_share(&key), store.rekey(old, new));
    rekeyed.unwrap();
    assert_eq!(at_work.unwrap().unwrap().1.as_slice(), b"share of key-1/0");
    store.close().await;
    let options = options(folder.path(), "node-1");
    let before = Store::open(&options, identity("node-1"), &kek(PASSPHRASE)).await;
    assert!(
        matches!(before, Err(OpenError::Kek(KekError::Refused))),
        "{before:?}"
    );
    let now = kek("quite another passphrase");
    let store = Store::open(&options, identity("node-1"), &now)
        .await
        .unwrap();
    let share = store
        .load_share(&share_record("key-2", 0).key)
        .await
        .unwrap();
    assert_eq!(share.unwrap().1.as_slice(), b"share of key-2/0");
}

/// The same passphrase under another name, as a key in another token is.
struct Renamed(PassphraseKek);

impl KeyEncryptionKey for Renamed {
    fn id(&self) -> String {
        "pkcs11/aes-256-gcm/00ff".to_owned()
    }

    fn wrap(&self, dek: &DataKey, aad: &[u8]) -> Result<Vec<u8>, KekError> {
        self.0.wrap(dek, aad)
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<DataKey, KekError> {
        self.0.unwrap(wrapped, aad)
    }
}

#[tokio::test]
async fn a_store_says_which_key_seals_it_and_does_not_try_another() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), "node-1").await.close().await;
    let options = options(folder.path(), "node-1");
    let renamed = Renamed(kek(PASSPHRASE));
    let refused = Store::open(&options, identity("node-1"), &renamed).await;
    let Err(OpenError::OtherKek { found, expected }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(found, "passphrase/argon2id");
    assert_eq!(expected, "pkcs11/aes-256-gcm/00ff");
    let store = open(folder.path(), "node-1").await;
    assert_eq!(store.sealed_by().await.unwrap(), found);
    // The wrapping is bound to the name: under another one the same passphrase does not open it.
    store
        .rekey(Arc::new(kek(PASSPHRASE)), Arc::new(renamed))
        .await
        .unwrap();
    store.close().await;
    let store = Store::open(&options, identity("node-1"), &Renamed(kek(PASSPHRASE))).await;
    assert_eq!(store.unwrap().sealed_by().await.unwrap(), expected);
}
