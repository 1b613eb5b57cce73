//! Callers at paths that are not theirs, bodies that no path takes, and certificates that prove nothing.

use countersign_policy::testing::{
    APPROVERS, AUDITOR, COORDINATOR, OFFICER, OPERATOR, OTHER_COORDINATOR, PAYMENTS,
};
use countersign_policy::{Hash, MemberId};
use countersign_signer::clock::now;
use countersign_signer::net::{
    CallError, CertificateAuthority, CertificateRequest, Frame, FrameKind, NodeClient, TlsIdentity,
    Verdict, decode_verdicts, encode_batch,
};
use countersign_signer::wire::{NodeStatus, Problem, ProblemCode, path};
use serde_json::{Value, json};

use crate::arena::{Arena, CALL};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_gets_in_at_another_ones_door() {
    let mut arena = Arena::empty(3, 2).await;
    certificates(&mut arena).await;
    wrong_callers(&mut arena).await;
    bodies(&mut arena).await;
    frames(&mut arena).await;
    arena.finish();
}

async fn is_a_stranger(arena: &mut Arena, attack: &str, client: NodeClient) {
    let answer: Result<NodeStatus, CallError> = client.get_json(path::STATUS, CALL).await;
    let dropped = matches!(answer, Err(CallError::Unreachable { .. }));
    arena.ends_elsewhere(attack, "the TLS handshake", dropped);
}

async fn certificates(arena: &mut Arena) {
    let node = arena.node(1);
    for id in [PAYMENTS, OFFICER, OPERATOR, AUDITOR, APPROVERS[0]] {
        let client = arena.cluster.client_as(id, &node);
        is_a_stranger(arena, &format!("certificate of {id}"), client).await;
    }
    for (id, signer) in [
        (COORDINATOR, OFFICER),
        ("node-2", "node-3"),
        (COORDINATOR, "node-2"),
    ] {
        let tls = arena.cluster.tls_vouched_by(id, signer);
        let client = arena.cluster.client_with(&tls, &node);
        let attack = format!("certificate of {id} vouched for by {signer}");
        is_a_stranger(arena, &attack, client).await;
    }
    // Its own authority, with the coordinator's own statement key: the right word from the wrong house.
    let authority = CertificateAuthority::create("another authority", now(), 30).unwrap();
    let member = countersign_policy::testing::member(COORDINATOR);
    let request = CertificateRequest {
        member: &member,
        identity: arena.cluster.deployment.identity(COORDINATOR),
        genesis: arena.cluster.deployment.genesis_hash(),
        names: &[],
        now: now(),
        valid_days: 30,
    };
    let pair = authority.issue(&request).unwrap();
    let tls = TlsIdentity::from_pem(&pair.cert_pem, &pair.key_pem, authority.certificate_pem());
    let client = arena.cluster.client_with(&tls.unwrap(), &node);
    is_a_stranger(arena, "certificate of another authority", client).await;
}

async fn is_turned_away(
    arena: &mut Arena,
    (caller, node): (&str, &MemberId),
    (operation, at): (&str, &str),
    body: Vec<u8>,
    (attack, code): (&str, ProblemCode),
) {
    let client = arena.cluster.client_as(caller, node);
    let answer = client.post_bytes(at, body, CALL).await;
    arena
        .refused(attack, node, (operation, caller), answer, (code, ""))
        .await;
}

async fn wrong_callers(arena: &mut Arena) {
    let node = arena.node(1);
    for (operation, at) in [
        ("prepare", path::PREPARE),
        ("sign", path::SIGN),
        ("stop", path::STOP),
        ("bundle", path::BUNDLES),
        ("ceremony", path::CEREMONIES),
    ] {
        let attack = format!("node that calls {at}");
        let expected = (attack.as_str(), ProblemCode::Forbidden);
        is_turned_away(
            arena,
            ("node-2", &node),
            (operation, at),
            b"{}".to_vec(),
            expected,
        )
        .await;
    }
    for (operation, at) in [("presign", path::PRESIGN), ("peer", path::ENTRIES)] {
        let attack = format!("coordinator that calls {at}");
        let expected = (attack.as_str(), ProblemCode::Forbidden);
        is_turned_away(
            arena,
            (COORDINATOR, &node),
            (operation, at),
            b"{}".to_vec(),
            expected,
        )
        .await;
    }
    let invented = json!({"entries": [arena_statement(arena)], "known": 0, "head": 9});
    let body = serde_json::to_vec(&invented).unwrap();
    let expected = ("ledger entry that is none", ProblemCode::Protocol);
    is_turned_away(
        arena,
        ("node-2", &node),
        ("peer", path::ENTRIES),
        body,
        expected,
    )
    .await;
}

/// Some signed statement.
fn arena_statement(arena: &Arena) -> Value {
    serde_json::to_value(arena.cluster.deployment.genesis()).unwrap()
}

async fn bodies(arena: &mut Arena) {
    let node = arena.node(1);
    let envelope = arena_statement(arena);
    let call = |edit: &dyn Fn(&mut Value)| {
        let mut call = json!({"authorization": envelope, "request": envelope, "approvals": []});
        edit(&mut call);
        serde_json::to_vec(&call).unwrap()
    };
    let cases = [
        ("no JSON", b"{".to_vec()),
        ("empty body", Vec::new()),
        ("nesting without end", [b"[".repeat(100_000)].concat()),
        (
            "unknown field in the call",
            call(&|c| c["force"] = json!(true)),
        ),
        (
            "missing field in the call",
            call(&|c| {
                c.as_object_mut().unwrap().remove("approvals");
            }),
        ),
        (
            "unsigned authorization",
            call(&|c| c["authorization"]["signatures"] = json!([])),
        ),
        (
            "authorization that is no envelope",
            call(&|c| c["authorization"] = json!("please")),
        ),
        (
            "payload that is no base64",
            call(&|c| c["request"]["payload"] = json!("###")),
        ),
        (
            "unknown field in an envelope",
            call(&|c| c["request"]["trusted"] = json!(true)),
        ),
        (
            "signature of 63 bytes",
            call(&|c| {
                let sig = "A".repeat(84);
                c["request"]["signatures"][0]["sig"] = json!(sig);
            }),
        ),
    ];
    for (attack, body) in cases {
        let door = ("prepare", path::PREPARE);
        let expected = (attack, ProblemCode::Malformed);
        is_turned_away(arena, (OTHER_COORDINATOR, &node), door, body, expected).await;
    }
    // Over the limit: cut off while it is read.
    let client = arena.cluster.client_as(OTHER_COORDINATOR, &node);
    for at in [
        path::PREPARE,
        path::SIGN,
        path::STOP,
        path::BUNDLES,
        path::CEREMONIES,
    ] {
        let answer = client.post_bytes(at, vec![b' '; (4 << 20) + 1], CALL).await;
        let attack = format!("5 MiB for {at}");
        arena.ends_elsewhere(&attack, "the body limit", answer.is_err());
    }
}

async fn frames(arena: &mut Arena) {
    let node = arena.node(1);
    let frame = |from: &str, to: &MemberId| Frame {
        channel: Hash::sha256(b"channel"),
        execution: Hash::sha256(b"execution"),
        round: 1,
        kind: FrameKind::Broadcast,
        from: countersign_policy::testing::member(from),
        to: to.clone(),
        body: vec![1, 2, 3],
    };
    let batch = |frame: &Frame| encode_batch([frame].into_iter()).unwrap();
    let coordinator = arena.cluster.client_as(COORDINATOR, &node);
    let own = batch(&frame(COORDINATOR, &node));
    let answer = coordinator.post_bytes(path::FRAMES, own, CALL).await;
    let forbidden = |answer: &Result<axum::body::Bytes, CallError>| {
        let code = |p: &Problem| p.code() == Some(ProblemCode::Forbidden);
        matches!(answer, Err(CallError::Problem(p)) if code(p))
    };
    arena.ends_elsewhere(
        "frames by a coordinator",
        "the peer network",
        forbidden(&answer),
    );

    let peer = arena.cluster.client_as("node-2", &node);
    let another = arena.node(3);
    for (attack, frame) in [
        ("frame in another node's name", frame("node-3", &node)),
        ("frame for another node", frame("node-2", &another)),
    ] {
        let answer = peer.post_bytes(path::FRAMES, batch(&frame), CALL).await;
        let verdicts = decode_verdicts(&answer.unwrap()).unwrap();
        let dropped = verdicts == [Verdict::Dropped];
        arena.ends_elsewhere(attack, "the peer network", dropped);
    }
    let answer = peer
        .post_bytes(path::FRAMES, b"CSF1 and so on".to_vec(), CALL)
        .await;
    let malformed = crate::arena::problem("garbage instead of frames", answer);
    let ended = malformed.code() == Some(ProblemCode::Malformed);
    arena.ends_elsewhere("garbage instead of frames", "the peer network", ended);
}
