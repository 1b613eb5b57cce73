//! Callers at paths that are not theirs, bodies that no path takes, and certificates that prove nothing.

use countersign_policy::testing::{
    APPROVERS, AUDITOR, COORDINATOR, OFFICER, OPERATOR, OTHER_COORDINATOR, PAYMENTS,
};
use countersign_policy::{Hash, IdentityKey, MemberId};
use countersign_signer::clock::now;
use countersign_signer::net::{
    CallError, CertificateAuthority, CertificateRequest, Frame, FrameKind, MAX_BATCH_BYTES,
    NodeClient, TlsIdentity, Verdict, decode_verdicts, encode_batch,
};
use countersign_signer::wire::{NodeStatus, ProblemCode, path};
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

async fn is_a_stranger(arena: &mut Arena, attack: &str, client: NodeClient, words: &str) {
    let node = arena.node(1);
    let mark = arena.mark(&node).await;
    let answer: Result<NodeStatus, CallError> = client.get_json(path::STATUS, CALL).await;
    let dropped = matches!(answer, Err(CallError::Unreachable { .. }));
    let place = ("connection", "127.0.0.1");
    let expected = (ProblemCode::Forbidden, words);
    arena
        .turned_away(attack, (&node, mark), place, dropped, expected)
        .await;
}

async fn certificates(arena: &mut Arena) {
    let node = arena.node(1);
    for id in [PAYMENTS, OFFICER, OPERATOR, AUDITOR, APPROVERS[0]] {
        let client = arena.cluster.client_as(id, &node);
        let words = "is neither node nor coordinator";
        is_a_stranger(arena, &format!("certificate of {id}"), client, words).await;
    }
    for (id, signer) in [
        (COORDINATOR, OFFICER),
        ("node-2", "node-3"),
        (COORDINATOR, "node-2"),
    ] {
        let tls = arena.cluster.tls_vouched_by(id, signer);
        let client = arena.cluster.client_with(&tls, &node);
        let attack = format!("certificate of {id} vouched for by {signer}");
        is_a_stranger(arena, &attack, client, "voucher").await;
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
    // It believes the node, so that it is the node who refuses.
    let trusted = arena.cluster.node_folder(&node).join("ca.crt");
    let trusted = std::fs::read_to_string(trusted).unwrap();
    let tls = TlsIdentity::from_pem(&pair.cert_pem, &pair.key_pem, &trusted);
    let client = arena.cluster.client_with(&tls.unwrap(), &node);
    is_a_stranger(
        arena,
        "certificate of another authority",
        client,
        "certificate",
    )
    .await;
    // The right authority, for somebody whom the bundle does not name.
    let key = IdentityKey::from_seed(&[9; 32]);
    for id in ["node-9", "coordinator-9"] {
        let tls = arena.cluster.tls_of_a_stranger(id, &key);
        let client = arena.cluster.client_with(&tls, &node);
        let attack = format!("certificate of {id}, whom nobody knows");
        is_a_stranger(arena, &attack, client, "is not a member").await;
    }
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
    let invented =
        json!({"entries": [arena_statement(arena)], "known": 0, "head": 9, "incarnation": 9});
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
    // Over the limit: not even read.
    let client = arena.cluster.client_as(OTHER_COORDINATOR, &node);
    for (operation, at) in [
        ("prepare", path::PREPARE),
        ("sign", path::SIGN),
        ("stop", path::STOP),
        ("bundle", path::BUNDLES),
        ("ceremony", path::CEREMONIES),
    ] {
        let mark = arena.mark(&node).await;
        let answer = client.post_bytes(at, vec![b' '; (4 << 20) + 1], CALL).await;
        let attack = format!("5 MiB for {at}");
        let place = (operation, OTHER_COORDINATOR);
        let expected = (ProblemCode::Malformed, "exceeds 4194304 bytes");
        arena
            .turned_away(&attack, (&node, mark), place, answer.is_err(), expected)
            .await;
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
    let mark = arena.mark(&node).await;
    let answer = coordinator.post_bytes(path::FRAMES, own, CALL).await;
    let code = |answer: &Result<axum::body::Bytes, CallError>| match answer {
        Err(CallError::Problem(problem)) => problem.code(),
        _ => None,
    };
    let forbidden = code(&answer) == Some(ProblemCode::Forbidden);
    let place = ("frames", COORDINATOR);
    let expected = (ProblemCode::Forbidden, "is not a peer");
    arena
        .turned_away(
            "frames by a coordinator",
            (&node, mark),
            place,
            forbidden,
            expected,
        )
        .await;

    let peer = arena.cluster.client_as("node-2", &node);
    let another = arena.node(3);
    let place = ("frames", "node-2");
    for (attack, frame, words) in [
        (
            "frame in another node's name",
            frame("node-3", &node),
            "from node-3 to node-1",
        ),
        (
            "frame for another node",
            frame("node-2", &another),
            "from node-2 to node-3",
        ),
    ] {
        let mark = arena.mark(&node).await;
        let answer = peer.post_bytes(path::FRAMES, batch(&frame), CALL).await;
        let verdicts = decode_verdicts(&answer.unwrap()).unwrap();
        let dropped = verdicts == [Verdict::Dropped];
        let expected = (ProblemCode::Forbidden, words);
        arena
            .turned_away(attack, (&node, mark), place, dropped, expected)
            .await;
    }
    for (attack, garbage, words) in [
        ("garbage instead of frames", b"CSF1 and so on".to_vec(), ""),
        (
            "more frames than a batch has bytes for",
            vec![0; MAX_BATCH_BYTES + 1],
            "exceeds",
        ),
    ] {
        let mark = arena.mark(&node).await;
        let answer = peer.post_bytes(path::FRAMES, garbage, CALL).await;
        let expected = (ProblemCode::Malformed, words);
        arena
            .turned_away(attack, (&node, mark), place, answer.is_err(), expected)
            .await;
    }
}
