//! Policy that its quorum signed, or says it did, and that must not follow: too early, against a veto, on the word of too
//! few nodes, or with a content that lets one person do what takes two.

use std::time::{Duration, Instant};

use countersign_policy::bundle::{
    Domains, Group, Member, MemberKey, MemberKeyAlgorithm, PolicyBundle, Role, Timing, WalletTier,
};
use countersign_policy::limits::LedgerGroup;
use countersign_policy::statement::{AckStage, BundleAck, Statement, Veto};
use countersign_policy::testing::{
    APPROVERS, AUTHOR, COORDINATOR, OFFICER, OTHER_OFFICERS, PAYMENTS, SPARE_APPROVER, TREASURY,
    member,
};
use countersign_policy::{Envelope, GroupId, Hash, IdentityKey, LedgerGroupId, MemberId};
use countersign_signer::clock::now;
use countersign_signer::net::EmergencyError;
use countersign_signer::wire::{Bundles, Candidate, ProblemCode, StatementTaken, path};

use crate::arena::{Arena, CALL, tampered};
use crate::hands::{forged, restated, strangers_key};
use crate::office::{member_of, officer, sorted};

/// The activation delay.
const DELAY: u64 = 3_600;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_policy_follows_before_its_time_or_on_the_word_of_too_few() {
    let mut arena = Arena::with_dkls23().await;
    signatures(&mut arena).await;
    contents(&mut arena).await;
    people(&mut arena).await;
    times(&mut arena).await;
    let first = arena.cluster.active().clone();
    // From here on successors wait an hour.
    arena
        .policy(|content| content.timing.activation_delay_seconds = DELAY)
        .await;
    arena
        .proposal_is_refused(
            "rollback to the predecessor",
            first.envelope(),
            "version 3 cannot follow version 4",
        )
        .await;
    let fork = {
        let deployment = &arena.cluster.deployment;
        deployment.successor(&first, |content| content.organisation = "fork".to_owned())
    };
    arena
        .proposal_is_refused(
            "second successor of the predecessor",
            &fork,
            "version 4 cannot follow version 4",
        )
        .await;
    let acks: Vec<Envelope> = ["node-2", "node-3"]
        .map(|node| {
            let deployment = &arena.cluster.deployment;
            deployment.ack(node, &first, &fork, AckStage::Confirmed)
        })
        .into();
    arena
        .activation_is_refused(
            "second successor with the confirmations of two nodes",
            (&fork, &acks),
            "version 4 cannot follow version 4",
        )
        .await;
    let next = delayed(&mut arena).await;
    vetoes(&mut arena, &next).await;
    arena.an_honest_payment_is_signed().await;
    arena.finish();
}

fn named(name: &str) -> impl FnOnce(&mut PolicyBundle) {
    let name = name.to_owned();
    move |content| content.organisation = name
}

/// Who may not sign for whom, beside what `bundles` tries.
async fn signatures(arena: &mut Arena) {
    let second = IdentityKey::from_seed(&[31; 32]);
    let by_author = {
        let (active, now) = (arena.cluster.active().clone(), now());
        arena.cluster.deployment.set_now(now);
        let mut content = active.content().clone();
        content.version += 1;
        content.predecessor = Some(active.digest());
        let deployment = &arena.cluster.deployment;
        let statement = deployment.statement(AUTHOR, "alone", 86_400, content);
        deployment.sign_by(&statement, &[])
    };
    let signed = |signers: &[(&str, &IdentityKey)]| {
        let mut bundle = by_author.clone();
        for (keyid, key) in signers {
            bundle.add_signature(keyid, key).unwrap();
        }
        bundle
    };
    let deployment = &arena.cluster.deployment;
    let [one, two] = APPROVERS.map(|a| deployment.identity(a));
    let author = deployment.identity(AUTHOR);
    let cases = [
        (
            "bundle whose author signs in an approver's name too",
            signed(&[(APPROVERS[0], one), (APPROVERS[1], author)]),
            "the signature of approver-2 does not verify",
        ),
        (
            "bundle with one approver's key in two approvers' names",
            signed(&[(APPROVERS[0], one), (APPROVERS[1], one)]),
            "the signature of approver-2 does not verify",
        ),
        (
            "bundle approved with a key that no bundle names",
            signed(&[(APPROVERS[0], one), (APPROVERS[0], &second)]),
            "the signature of approver-1 does not verify",
        ),
        (
            "bundle approved by the coordinator",
            signed(&[
                (APPROVERS[0], one),
                (COORDINATOR, deployment.identity(COORDINATOR)),
            ]),
            "coordinator-1 signed but is no policy approver",
        ),
    ];
    let approved = signed(&[(APPROVERS[0], one), (APPROVERS[1], two)]);
    for (attack, bundle, words) in cases {
        arena.proposal_is_refused(attack, &bundle, words).await;
    }
    let widened = tampered(&approved, |t| {
        t.replace(
            "\"max_amount\":\"1000000000\"",
            "\"max_amount\":\"9000000000\"",
        )
    });
    let attack = "bundle whose caps were raised after signing";
    arena
        .proposal_is_refused(attack, &widened, "does not verify")
        .await;
    // Two keys of one person: a quorum counts people.
    let key = MemberKey {
        algorithm: MemberKeyAlgorithm::Ed25519,
        public_key: second.public(),
    };
    arena
        .policy(|content| member_of(content, APPROVERS[0]).keys.push(key))
        .await;
    let mut twice = arena.successor(named("twice"));
    let statement: Statement<PolicyBundle> = serde_json::from_slice(twice.payload()).unwrap();
    let deployment = &arena.cluster.deployment;
    twice = deployment.sign_by(&statement, &APPROVERS[..1]);
    twice.add_signature(APPROVERS[0], &second).unwrap();
    let attack = "bundle approved by one person through two keys";
    arena
        .proposal_is_refused(attack, &twice, "counted already")
        .await;
}

type Edit = Box<dyn FnOnce(&mut PolicyBundle)>;

/// Signed by the whole quorum, which was bribed or deceived: the validator of each node says no.
async fn contents(arena: &mut Arena) {
    let role = |id: &'static str, role: Role| -> Edit {
        Box::new(move |content| {
            member_of(content, id).roles.insert(role);
        })
    };
    let nodes = arena.cluster.members();
    let cases: Vec<(&str, Edit, &str)> = vec![
        (
            "author who becomes an approver as well",
            role(AUTHOR, Role::PolicyApprover),
            "nobody writes and approves the rules",
        ),
        (
            "payment service that approves its own payments",
            role(PAYMENTS, Role::SecurityOfficer),
            "nobody initiates and approves payments",
        ),
        (
            "payment service that writes the rules",
            role(PAYMENTS, Role::PolicyAuthor),
            "nobody initiates payments and writes the rules",
        ),
        (
            "officer who operates nodes",
            role(OFFICER, Role::Operator),
            "nobody operates nodes and approves payments",
        ),
        (
            "officer who observes chains",
            role(OFFICER, Role::ChainObserver),
            "an observer has no other role",
        ),
        (
            "coordinator that is a node as well",
            role(COORDINATOR, Role::Node),
            "a machine's role stands alone",
        ),
        (
            "freezes that one officer ends",
            Box::new(|c| c.quorums.unfreeze = 1),
            "so that nobody ends a freeze alone",
        ),
        (
            "bundles that nobody approves",
            Box::new(|c| c.quorums.policy = 0),
            "at least one approver besides the author",
        ),
        (
            "observations by one observer",
            Box::new(|c| c.quorums.observation = 1),
            "ask for at least two",
        ),
        (
            "nodes that one administrator controls",
            Box::new(|content| {
                for node in ["node-1", "node-2"] {
                    let hosting = format!("site-{node}");
                    member_of(content, node).domains = Some(Domains {
                        administration: "one team".to_owned(),
                        hosting,
                    });
                }
            }),
            "could sign together",
        ),
        (
            "ledger quorums that need not meet",
            Box::new(move |content| {
                content.ledger_groups.push(LedgerGroup {
                    id: LedgerGroupId::new("all").unwrap(),
                    nodes,
                    quorum: 1,
                    max_faulty: 0,
                });
            }),
            "limits would not be exact",
        ),
        (
            "cold wallet that is signed without approvals",
            Box::new(|content| content.wallets[0].tier = WalletTier::Cold),
            "a cold wallet could be signed without approvals",
        ),
        (
            "cold wallet that one officer opens",
            Box::new(|content| {
                cold(content, "treasury:1");
            }),
            "is met by one person",
        ),
        (
            "group of officers with a payment service in it",
            Box::new(|content| {
                cold(content, "treasury:2");
                content.groups[0].members.push(member(PAYMENTS));
            }),
            "payments is no security officer",
        ),
        (
            "wallet without any rule",
            Box::new(|content| content.rules.clear()),
            "wallet",
        ),
    ];
    for (attack, edit, words) in cases {
        let bundle = arena.successor(edit);
        arena.proposal_is_refused(attack, &bundle, words).await;
    }
}

fn cold(content: &mut PolicyBundle, needs: &str) {
    content.groups.push(Group {
        id: GroupId::new(TREASURY).unwrap(),
        members: vec![member(OFFICER), member(OTHER_OFFICERS[0])],
    });
    content.wallets[0].tier = WalletTier::Cold;
    for rule in &mut content.rules {
        rule.needs = Some(needs.parse().unwrap());
    }
}

/// One person under two names.
async fn people(arena: &mut Arena) {
    let own = arena.cluster.deployment.identity(APPROVERS[0]).to_seed();
    let own = IdentityKey::from_seed(&own);
    let twin = |id: &str, key: &IdentityKey| Member {
        roles: [Role::PolicyApprover].into(),
        ..officer(id, key)
    };
    let second = twin("approver-9", &own);
    let bundle = arena.successor(|content| {
        content.members.push(second.clone());
        sorted(content);
    });
    let attack = "approver's key under a second name";
    arena
        .proposal_is_refused(attack, &bundle, "one key, one use")
        .await;
    let bundle = arena.successor(|content| {
        content.members.retain(|m| m.id.as_str() != APPROVERS[0]);
        content.members.push(second);
        sorted(content);
    });
    let attack = "approver's key handed on to another member";
    arena
        .proposal_is_refused(attack, &bundle, "which was approver-1's: one key, one use")
        .await;
    let author = IdentityKey::from_seed(&arena.cluster.deployment.identity(AUTHOR).to_seed());
    let alias = twin("approver-8", &author);
    let bundle = arena.successor(|content| {
        content.members.push(alias);
        sorted(content);
    });
    let attack = "author who approves under a second name";
    arena
        .proposal_is_refused(attack, &bundle, "one key, one use")
        .await;
}

async fn times(arena: &mut Arena) {
    let moved = |arena: &mut Arena, shift: i64, life: u64| {
        let active = arena.cluster.active().clone();
        let at = countersign_policy::Timestamp::from_millis(now().as_millis() + shift * 1_000);
        arena.cluster.deployment.set_now(at);
        let mut content = active.content().clone();
        content.version += 1;
        content.predecessor = Some(active.digest());
        let deployment = &arena.cluster.deployment;
        let statement = deployment.statement(AUTHOR, "moved", life, content);
        deployment.sign_by(&statement, &APPROVERS)
    };
    for (attack, shift, life, words) in [
        (
            "bundle that expired",
            -7_200,
            3_600,
            "the successor expired at",
        ),
        ("bundle from the future", 600, 3_600, "after the present"),
        (
            "bundle for five hundred days",
            0,
            500 * 86_400,
            "lives for more than 400 days",
        ),
    ] {
        let bundle = moved(arena, shift, life);
        arena.proposal_is_refused(attack, &bundle, words).await;
    }
    let bundle = arena.successor(|content| {
        content.timing = Timing {
            max_clock_skew_seconds: 3_600,
            ..content.timing.clone()
        };
    });
    let attack = "bundle that lets clocks be an hour apart";
    arena
        .proposal_is_refused(attack, &bundle, "must be 1 to 60")
        .await;
}

/// A successor that node 1 keeps, and that no word of others makes it follow before the hour is over.
async fn delayed(arena: &mut Arena) -> Envelope {
    let next = arena.successor(named("next"));
    let one = arena.node(1);
    let kept = arena.propose(&one, &next).await.unwrap();
    assert!(!kept.active);
    let own = kept.ack.unwrap();
    until_shown(arena, &one, |candidate| candidate.acks.len() >= 2).await;
    let active = arena.cluster.active().clone();
    let ack = |arena: &Arena, node: &str, stage: AckStage| {
        let deployment = &arena.cluster.deployment;
        deployment.ack(node, &active, &next, stage)
    };
    let liar = ack(arena, "node-2", AckStage::Confirmed);
    let early = restated::<BundleAck>(arena, &liar, |s| {
        s.issued_at = s.issued_at.minus_seconds(2 * DELAY);
    });
    let other = arena.successor(named("other"));
    let stranger = forged(&liar, "node-2", &strangers_key());
    let by_officer = ack(arena, OFFICER, AckStage::Confirmed);
    let by_coordinator = ack(arena, COORDINATOR, AckStage::Confirmed);
    let ahead = restated::<BundleAck>(arena, &liar, |s| {
        s.issued_at = s.issued_at.plus_seconds(600);
    });
    let later = restated::<BundleAck>(arena, &liar, |s| s.body.version += 1);
    let elsewhere = restated::<BundleAck>(arena, &liar, |s| {
        s.body.predecessor = Hash::sha256(b"another bundle");
    });
    let genesis = restated::<BundleAck>(arena, &liar, |s| s.genesis = Hash::sha256(b"x"));
    let waits = "it waits for vetoes until";
    let twice = [liar.clone(), liar.clone()];
    let cases: Vec<(&str, &Envelope, Vec<Envelope>, &str)> = vec![
        (
            "activation before the delay is over",
            &next,
            vec![own.clone()],
            waits,
        ),
        (
            "delay skipped by one node that confirms at once",
            &next,
            vec![own.clone(), liar.clone()],
            waits,
        ),
        (
            "delay skipped by one node that dates its word back",
            &next,
            vec![own.clone(), early],
            waits,
        ),
        (
            "confirmation of one node counted twice",
            &next,
            twice.to_vec(),
            waits,
        ),
        (
            "acknowledgements replayed for another bundle",
            &other,
            vec![own, liar],
            "0 of the 2 nodes that are needed keep it",
        ),
        (
            "acknowledgement with a forged signature",
            &next,
            vec![stranger],
            "the signature of node-2 does not verify",
        ),
        (
            "acknowledgement by an officer",
            &next,
            vec![by_officer],
            "no role that may issue",
        ),
        (
            "acknowledgement by a coordinator",
            &next,
            vec![by_coordinator],
            "no role that may issue",
        ),
        (
            "acknowledgement from the future",
            &next,
            vec![ahead],
            "check the clocks",
        ),
        (
            "acknowledgement as another version",
            &next,
            vec![later],
            "node-2 acknowledges",
        ),
        (
            "acknowledgement after another bundle",
            &next,
            vec![elsewhere],
            "node-2 acknowledges",
        ),
        (
            "acknowledgement under another genesis",
            &next,
            vec![genesis],
            "the statement is for genesis",
        ),
        (
            "successor in the place of an acknowledgement",
            &next,
            vec![other.clone()],
            "payload type",
        ),
    ];
    for (attack, bundle, acks, words) in cases {
        arena
            .activation_is_refused(attack, (bundle, &acks), words)
            .await;
    }
    let fork = arena.successor(named("fork"));
    let attack = "fork: a second successor beside the one that the node stands behind";
    arena
        .proposal_is_refused(attack, &fork, "this node stands behind")
        .await;
    let unrelated = arena.successor(|content| {
        content.organisation = "unrelated".to_owned();
        content.supersedes = vec![Hash::sha256(b"another successor")];
    });
    let attack = "fork: a second successor that supersedes something else";
    arena
        .proposal_is_refused(attack, &unrelated, "this node stands behind")
        .await;
    next
}

/// One approver stops a successor; nobody else does, and nothing goes past it.
async fn vetoes(arena: &mut Arena, next: &Envelope) {
    let veto = |arena: &mut Arena, issuer: &str| {
        arena.cluster.deployment.set_now(now());
        arena.cluster.deployment.veto(issuer, next)
    };
    let honest = veto(arena, SPARE_APPROVER);
    let mut cases = vec![
        (
            "veto with a forged signature".to_owned(),
            forged(&honest, SPARE_APPROVER, &strangers_key()),
            "does not verify",
        ),
        (
            "veto under another genesis".to_owned(),
            restated::<Veto>(arena, &honest, |s| s.genesis = Hash::sha256(b"x")),
            "the statement is for genesis",
        ),
        (
            "veto that expired".to_owned(),
            restated::<Veto>(arena, &honest, |s| {
                s.issued_at = s.issued_at.minus_seconds(7_200);
                s.expires_at = s.issued_at.plus_seconds(60);
            }),
            "expired",
        ),
    ];
    for issuer in [OFFICER, AUTHOR, COORDINATOR, "node-2"] {
        let veto = veto(arena, issuer);
        cases.push((format!("veto by {issuer}"), veto, "no role that may issue"));
    }
    for (attack, veto, words) in cases {
        let expected = (ProblemCode::Statement, words);
        arena
            .giving_is_refused(&attack, (path::VETO, &veto), expected)
            .await;
    }
    // At another node's open door, so that the coordinator cannot hold it back.
    let (one, three) = (arena.node(1), arena.node(3));
    let taken: Result<StatementTaken, EmergencyError> =
        arena.give_openly(&three, path::VETO, &honest).await;
    taken.expect("an approver's veto is taken");
    until_shown(arena, &one, |candidate| !candidate.vetoes.is_empty()).await;
    let vetoed = "approver-3 vetoed";
    let attack = "vetoed bundle proposed again";
    arena.proposal_is_refused(attack, next, vetoed).await;
    let active = arena.cluster.active().clone();
    let deployment = &arena.cluster.deployment;
    let liar = deployment.ack("node-2", &active, next, AckStage::Confirmed);
    let attack = "vetoed bundle with the confirmation of one node";
    arena
        .activation_is_refused(attack, (next, &[liar]), vetoed)
        .await;
}

/// Waits until a node shows that its candidate is as wanted.
async fn until_shown(arena: &Arena, node: &MemberId, wanted: impl Fn(&Candidate) -> bool) {
    let until = Instant::now() + CALL;
    loop {
        let client = arena.cluster.client(node);
        let shown: Bundles = client.get_json(path::BUNDLES, CALL).await.unwrap();
        if shown.candidate.is_some_and(|c| wanted(&c)) {
            return;
        }
        assert!(Instant::now() < until, "{node} does not hear of it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
