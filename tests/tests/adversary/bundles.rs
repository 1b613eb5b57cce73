//! The coordinator writes policy itself, or brings back an old one.

use countersign_policy::bundle::{KeyRecord, PolicyBundle};
use countersign_policy::statement::{CeremonyTranscript, Verified};
use countersign_policy::testing::{
    APPROVERS, AUTHOR, COORDINATOR, OFFICER, SPARE_APPROVER, TestDeployment,
};
use countersign_policy::{Amount, Envelope, Hash, IdentityKey, Protocol};
use countersign_signer::clock::now;
use countersign_signer::net::CallError;
use countersign_signer::wire::{BundleAck, ProblemCode, SubmitBundle, path};

use crate::arena::{Arena, CALL, resigned, tampered};

async fn bundle_is_refused(
    arena: &mut Arena,
    attack: &str,
    (bundle, transcripts): (&Envelope, &[Envelope]),
    words: &str,
) {
    let node = arena.node(1);
    let before = arena.cluster.status(&node).await.bundle;
    let call = SubmitBundle {
        bundle: bundle.clone(),
        transcripts: transcripts.to_vec(),
    };
    let answer: Result<BundleAck, CallError> = arena
        .cluster
        .client(&node)
        .post_json(path::BUNDLES, &call, CALL)
        .await;
    let subject = bundle.digest().to_string();
    let expected = (ProblemCode::Bundle, words);
    arena
        .refused(attack, &node, ("bundle", &subject), answer, expected)
        .await;
    let after = arena.cluster.status(&node).await.bundle;
    assert_eq!(before, after, "{attack}: the node follows another bundle");
}

/// A successor that lifts every cap, signed by whoever.
fn greedy(
    arena: &mut Arena,
    issuer: &str,
    others: &[&str],
    edit: impl FnOnce(&mut PolicyBundle),
) -> Envelope {
    arena.cluster.deployment.set_now(now());
    let active = arena.cluster.active();
    let mut content = active.content().clone();
    content.version += 1;
    content.predecessor = Some(active.digest());
    for rule in &mut content.rules {
        rule.max_amount = Amount::MAX;
    }
    edit(&mut content);
    let deployment = &arena.cluster.deployment;
    let statement = deployment.statement(issuer, "greedy", 86_400, content);
    deployment.sign_by(&statement, others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn policy_that_its_quorum_did_not_sign_is_refused() {
    let mut arena = Arena::with_dkls23().await;
    let [first, second] = APPROVERS;
    let nothing = |_: &mut PolicyBundle| {};
    let signers: [(&str, &str, &[&str], &str); 8] = [
        ("bundle by its author alone", AUTHOR, &[], "are needed"),
        ("bundle with one approver", AUTHOR, &[first], "are needed"),
        (
            "bundle with one approver twice",
            AUTHOR,
            &[first, first],
            "not an acceptable",
        ),
        (
            "author who approves",
            AUTHOR,
            &[AUTHOR, first],
            "not an acceptable",
        ),
        (
            "approver who writes",
            first,
            &[second, SPARE_APPROVER],
            "no policy author",
        ),
        (
            "bundle by a coordinator",
            COORDINATOR,
            &[first, second],
            "no policy author",
        ),
        (
            "officer who approves",
            AUTHOR,
            &[first, OFFICER],
            "no policy approver",
        ),
        (
            "nodes that approve",
            AUTHOR,
            &["node-2", "node-3"],
            "no policy approver",
        ),
    ];
    for (attack, issuer, others, words) in signers {
        let bundle = greedy(&mut arena, issuer, others, nothing);
        bundle_is_refused(&mut arena, attack, (&bundle, &[]), words).await;
    }
    chain(&mut arena).await;
    pinned_keys(&mut arena).await;
    arena.an_honest_payment_is_signed().await;
    arena.finish();
}

/// Signed by the whole quorum, and still not what comes next.
async fn chain(arena: &mut Arena) {
    let genesis = arena.cluster.deployment.genesis();
    let hash = genesis.digest();
    type Edit = Box<dyn FnOnce(&mut PolicyBundle)>;
    let edits: Vec<(&str, Edit, &str)> = vec![
        (
            "fork of the chain",
            Box::new(move |b| b.predecessor = Some(hash)),
            "a fork",
        ),
        (
            "gap in the chain",
            Box::new(|b| b.version += 1),
            "cannot follow",
        ),
        (
            "version again",
            Box::new(|b| b.version -= 1),
            "cannot follow",
        ),
        (
            "key left out",
            Box::new(|b| {
                b.keys.clear();
                b.wallets.clear();
                b.rules.clear();
            }),
            "left out",
        ),
        (
            "key of fewer signers",
            Box::new(|b| b.keys[0].max_faulty = 1),
            "key",
        ),
        (
            "transcript of a key exchanged",
            Box::new(|b| b.keys[0].transcript = Hash::sha256(b"x")),
            "only the state",
        ),
    ];
    for (attack, edit, words) in edits {
        let bundle = greedy(arena, AUTHOR, &APPROVERS, edit);
        bundle_is_refused(arena, attack, (&bundle, &[]), words).await;
    }
    bundle_is_refused(
        arena,
        "rollback to the genesis",
        (&genesis, &[]),
        "not an acceptable",
    )
    .await;
    let honest = greedy(arena, AUTHOR, &APPROVERS, |_| {});
    let version = arena.cluster.active().content().version + 1;
    let raised = tampered(&honest, |t| {
        t.replace(
            &format!("\"version\":{version}"),
            &format!("\"version\":{}", version + 1),
        )
    });
    bundle_is_refused(
        arena,
        "bundle changed after signing",
        (&raised, &[]),
        "not an acceptable",
    )
    .await;
    let forged = resigned(&honest, AUTHOR, &IdentityKey::from_seed(&[9; 32]), |t| {
        t.replace("\"organisation\":\"Test\"", "\"organisation\":\"Tent\"")
    });
    bundle_is_refused(
        arena,
        "bundle with a forged signature",
        (&forged, &[]),
        "not an acceptable",
    )
    .await;
    // Enough signatures, one of them by somebody whom the bundle does not name.
    let mut outsider = greedy(arena, AUTHOR, &APPROVERS[..1], |_| {});
    outsider
        .add_signature("approver-9", &IdentityKey::from_seed(&[9; 32]))
        .unwrap();
    bundle_is_refused(
        arena,
        "bundle approved by a stranger",
        (&outsider, &[]),
        "not an acceptable",
    )
    .await;
}

/// A quorum that was lied to pins a key that the nodes did not make, or did not all make.
async fn pinned_keys(arena: &mut Arena) {
    let order = arena.cluster.order("second", Protocol::FrostEd25519, 2);
    let transcripts = arena.cluster.run_ceremony(&order).await;
    let record = arena.cluster.record(&order, &transcripts);
    let foreign = arena.cluster.active().content().keys[0].clone();
    let lied = |change: &dyn Fn(&mut KeyRecord)| {
        let mut changed = record.clone();
        change(&mut changed);
        changed
    };
    let two = &transcripts[..2];
    let twice = [two, &transcripts[..1]].concat();
    let forged = forged_transcripts(arena, &transcripts);
    let forged_hash = {
        let directory = arena.cluster.active().directory();
        let opened: Verified<CeremonyTranscript> = directory.open(&forged[0]).unwrap();
        opened.body().content_hash().unwrap()
    };
    let no_transcript = "there is no transcript signed by";
    let cases: Vec<(&str, KeyRecord, &[Envelope], &str)> = vec![
        (
            "key without transcripts",
            record.clone(),
            &[],
            no_transcript,
        ),
        (
            "key with the transcripts of two nodes",
            record.clone(),
            two,
            no_transcript,
        ),
        (
            "key with one node's transcript twice",
            record.clone(),
            &twice,
            no_transcript,
        ),
        (
            "key under another transcript hash",
            lied(&|k| k.transcript = Hash::sha256(b"x")),
            &transcripts,
            no_transcript,
        ),
        (
            "key for another purpose",
            lied(&|k| k.purpose = "another".to_owned()),
            &transcripts,
            no_transcript,
        ),
        (
            "key with a group key of the coordinator's",
            lied(&|k| k.group_key = other_group_key()),
            &transcripts,
            no_transcript,
        ),
        (
            "key that only liars made",
            lied(&|k| k.transcript = forged_hash),
            &forged,
            no_transcript,
        ),
        (
            "key of two nodes' ceremony",
            lied(&|k| k.nodes = foreign.nodes[..2].to_vec()),
            &transcripts,
            "",
        ),
    ];
    for (attack, key, transcripts, words) in cases {
        let active = arena.cluster.active().clone();
        arena.cluster.deployment.set_now(now());
        let bundle = arena.cluster.deployment.successor(&active, |content| {
            TestDeployment::add_key_to(content, key);
        });
        bundle_is_refused(arena, attack, (&bundle, transcripts), words).await;
    }
}

/// Two nodes lie about the outcome and the third one's word is missing.
fn forged_transcripts(arena: &mut Arena, transcripts: &[Envelope]) -> Vec<Envelope> {
    let opened: Vec<Verified<CeremonyTranscript>> = transcripts
        .iter()
        .map(|t| arena.cluster.active().directory().open(t).unwrap())
        .collect();
    let liars = opened.iter().skip(1);
    liars
        .map(|transcript| {
            let mut body = transcript.body().clone();
            body.ceremony = Hash::sha256(b"another order");
            arena
                .cluster
                .deployment
                .sign(transcript.issuer().as_str(), 600, body)
        })
        .collect()
}

fn other_group_key() -> countersign_policy::PublicKey {
    countersign_policy::testing::SingleKey::eddsa().public_key()
}
