//! Bodies for what readers of the coordinator's API send: tokens and places in lists.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use countersign_coordinator::{ApiSecret, PageCursor, verify_token};
use countersign_policy::bundle::ActiveBundle;
use countersign_policy::testing::{AUDITOR, TestDeployment, member};
use countersign_policy::{IdentityPublicKey, MemberId, Timestamp};

struct Access {
    bundle: ActiveBundle,
    keys: BTreeMap<MemberId, Vec<IdentityPublicKey>>,
    now: Timestamp,
    token: String,
}

static ACCESS: LazyLock<Access> = LazyLock::new(|| {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let secret = ApiSecret::from_seed(&[7; 32]);
    let now = deployment.now();
    Access {
        bundle: deployment.bundle(),
        keys: BTreeMap::from([(member(AUDITOR), vec![secret.public()])]),
        now,
        token: secret.token(&member(AUDITOR), deployment.genesis_hash(), now),
    }
});

/// Edits of a token (position, new byte; three bytes an edit): nobody but its owner comes of it, and only if it was not changed.
pub fn mutate_token(edits: &[u8]) {
    let access = &*ACCESS;
    let bytes = super::statements::edited(access.token.as_bytes(), edits);
    let Ok(token) = String::from_utf8(bytes) else {
        return;
    };
    match verify_token(&token, &access.bundle, &access.keys, access.now) {
        Ok(who) => assert!(who.as_str() == AUDITOR && token == access.token, "{token}"),
        Err(_) => assert_ne!(token, access.token),
    }
}

/// Text as a place in a list: what is read is written the same.
pub fn read_cursor(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(cursor) = text.parse::<PageCursor>()
    {
        assert_eq!(cursor.to_string(), text);
    }
}
