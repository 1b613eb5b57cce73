//! A node that lies to its peers. The liar is a real node whose frames pass through a proxy that holds its keys and
//! changes them: everything but the lie is right.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use countersign_policy::testing::SOLANA_WALLET;
use countersign_policy::testing::transaction::{EXCHANGE, sol};
use countersign_policy::{Envelope, ExternalId, Hash, MemberId, Network, Protocol};
use countersign_signer::clock::now;
use countersign_signer::net::{
    BundleHandle, Frame, FrameKind, NodeClient, PeerIdentity, Server, ServerLimits, decode_batch,
    encode_batch,
};
use countersign_signer::wire::{
    EntriesKnown, Problem, ProblemCode, PushEntries, RegisterStart, StartRegistered, path,
};

use crate::arena::{Arena, CALL, OpenSession};

/// What the liar does to a frame on its way out; `false` swallows it.
pub type Lie = Arc<dyn Fn(&mut Frame) -> bool + Send + Sync>;

/// Listens in the place of a node for the liar, node 2, and passes on what it says, changed.
pub struct Proxy {
    _server: Server,
}

struct Wire {
    client: NodeClient,
    lie: Lie,
}

async fn frames(
    State(wire): State<Arc<Wire>>,
    _: Extension<PeerIdentity>,
    body: axum::body::Bytes,
) -> Response {
    let mut frames = decode_batch(&body).unwrap();
    let count = frames.len();
    frames.retain_mut(|frame| (wire.lie)(frame));
    if frames.len() < count {
        // Swallowed: the liar's own software is told that all is well.
        let taken = vec![countersign_signer::net::Verdict::Taken; count];
        return countersign_signer::net::encode_verdicts(&taken)
            .unwrap()
            .into_response();
    }
    let batch = encode_batch(frames.iter()).unwrap();
    match wire.client.post_bytes(path::FRAMES, batch, CALL).await {
        Ok(answer) => answer.into_response(),
        Err(error) => ProblemCode::Busy.problem(error.to_string()).into_response(),
    }
}

async fn entries(State(wire): State<Arc<Wire>>, Json(push): Json<PushEntries>) -> Response {
    let answer: Result<EntriesKnown, _> = wire.client.post_json(path::ENTRIES, &push, CALL).await;
    match answer {
        Ok(known) => Json(known).into_response(),
        Err(error) => ProblemCode::Busy.problem(error.to_string()).into_response(),
    }
}

async fn start(State(wire): State<Arc<Wire>>, Json(call): Json<RegisterStart>) -> Response {
    let answer: Result<StartRegistered, _> = wire.client.post_json(path::START, &call, CALL).await;
    match answer {
        Ok(registered) => Json(registered).into_response(),
        Err(error) => ProblemCode::Busy.problem(error.to_string()).into_response(),
    }
}

impl Proxy {
    /// Restarts node 2 so that it reaches the victim through the proxy only.
    pub async fn before(arena: &mut Arena, victim: &MemberId, lie: Lie) -> Self {
        let (one, liar) = (victim.clone(), arena.node(2));
        let wire = Arc::new(Wire {
            client: arena.cluster.client_as(liar.as_str(), &one),
            lie,
        });
        let routes = Router::new()
            .route(path::FRAMES, post(frames))
            .route(path::ENTRIES, post(entries))
            .route(path::START, post(start))
            .with_state(wire);
        let bundle = BundleHandle::new(arena.cluster.active().clone());
        let tls = arena.cluster.tls(one.as_str());
        let address = ([127, 0, 0, 1], 0).into();
        let server = Server::bind(address, &tls, bundle, routes, ServerLimits::default());
        let server = server.await.unwrap();
        let file = arena.cluster.node_folder(&liar).join("node.toml");
        let config = std::fs::read_to_string(&file).unwrap();
        let through = format!("https://{}", server.local_address());
        let direct = config
            .lines()
            .find(|line| line.starts_with(&format!("{one} =")))
            .expect("the victim's address")
            .to_owned();
        let changed = config.replace(&direct, &format!("{one} = \"{through}\""));
        std::fs::write(&file, changed).unwrap();
        arena.cluster.kill(&liar).await;
        arena.cluster.start_node(&liar).await;
        Self { _server: server }
    }
}

/// Node 1's answer when both are asked to sign; the liar's own answer does not matter.
pub async fn victim(
    arena: &mut Arena,
    attack: &str,
    session: OpenSession,
    codes: &[ProblemCode],
) -> Problem {
    let pair = arena.pair();
    let answer = arena
        .cluster
        .sign_with(&session.receipts, &pair)
        .await
        .remove(0);
    let problem = match &answer {
        Err(countersign_signer::net::CallError::Problem(problem)) => problem.clone(),
        other => panic!("{attack}: answered with {other:?}"),
    };
    let code = problem.code().unwrap();
    assert!(codes.contains(&code), "{attack}: {problem}");
    let one = arena.node(1);
    let subject = session.id.to_string();
    arena
        .refused(attack, &one, ("sign", &subject), answer, (code, ""))
        .await
}

pub struct Case {
    attack: &'static str,
    lie: Lie,
    codes: &'static [ProblemCode],
    /// Whether the liar is named, as culprit or as missing; a mismatch of executions blames nobody.
    named: bool,
}

pub fn case(
    attack: &'static str,
    lie: impl Fn(&mut Frame) -> bool + Send + Sync + 'static,
    codes: &'static [ProblemCode],
    named: bool,
) -> Case {
    Case {
        attack,
        lie: Arc::new(lie),
        codes,
        named,
    }
}

fn cases() -> Vec<Case> {
    use ProblemCode::{Protocol, Receipts, Statement, Timeout};
    vec![
        case(
            "wrong share",
            |f| {
                if Lane::of(f) == Lane::Share {
                    // The last 32 bytes are a scalar, little endian: this is another scalar, and readable.
                    let share = f.body.len() - 32;
                    f.body[share] ^= 1;
                }
                true
            },
            &[Protocol],
            true,
        ),
        case(
            "garbage in the first round",
            |f| {
                if Lane::of(f) == Lane::First {
                    // The first 32 bytes bind the message to the execution.
                    f.body.truncate(32);
                    f.body.extend([0xff; 40]);
                }
                true
            },
            &[Protocol],
            true,
        ),
        case(
            "first message bound to another execution",
            |f| {
                if Lane::of(f) == Lane::First {
                    f.body[0] ^= 1;
                }
                true
            },
            &[Protocol],
            false,
        ),
        case(
            "message of another execution",
            |f| {
                f.execution = Hash::sha256(b"another execution");
                true
            },
            &[Receipts, Protocol],
            false,
        ),
        case(
            "confirm that is garbage",
            |f| {
                if f.kind == FrameKind::Confirm {
                    f.body = b"{}".to_vec();
                }
                true
            },
            &[Protocol],
            true,
        ),
        case(
            "confirm that was changed",
            |f| {
                if f.kind == FrameKind::Confirm {
                    let text = String::from_utf8(f.body.clone()).unwrap();
                    f.body = text
                        .replacen("\"keyid\":\"node-2\"", "\"keyid\":\"node-3\"", 1)
                        .into_bytes();
                }
                true
            },
            &[Statement],
            true,
        ),
        case(
            "no confirm at all",
            |f| f.kind != FrameKind::Confirm,
            &[Timeout],
            true,
        ),
        case(
            "no share at all",
            |f| Lane::of(f) != Lane::Share,
            &[Timeout],
            true,
        ),
    ]
}

/// The parts of a FROST session that lies are told in.
#[derive(PartialEq)]
enum Lane {
    Session,
    First,
    Share,
}

impl Lane {
    fn of(frame: &Frame) -> Self {
        match (frame.kind, frame.round) {
            (FrameKind::Confirm | FrameKind::Control, _) => Self::Session,
            (_, 0) => Self::First,
            _ => Self::Share,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_lies_in_a_frost_session_is_named() {
    let mut arena = Arena::empty(3, 2).await;
    arena
        .cluster
        .make_key("hot-eddsa", Protocol::FrostEd25519, 2)
        .await;
    each_is_named(&mut arena, cases()).await;
    let liar = arena.node(2);
    let lies = crate::confirms::cases(arena.cluster.deployment.identity(liar.as_str()));
    each_is_named(&mut arena, lies).await;
    arena.finish();
}

async fn each_is_named(arena: &mut Arena, cases: Vec<Case>) {
    for case in cases {
        let victim_node = arena.node(1);
        let _proxy = Proxy::before(arena, &victim_node, case.lie).await;
        let request = solana_payment(arena);
        let authorization = arena.authorize(&request);
        let session = arena.session_of(request, authorization).await;
        let problem = victim(arena, case.attack, session, case.codes).await;
        let blamed: Vec<&MemberId> = problem.culprits.iter().chain(&problem.missing).collect();
        let liar = arena.node(2);
        let expected: &[&MemberId] = if case.named { &[&liar] } else { &[] };
        assert_eq!(blamed, expected, "{}: {problem}", case.attack);
        // Lies that could be anybody's bad luck ban nobody.
        let banned = &arena.cluster.status(&victim_node).await.keys[0].banned;
        assert!(banned.is_empty(), "{}: {banned:?}", case.attack);
    }
}

pub fn solana_payment(arena: &mut Arena) -> Envelope {
    let number = arena.payments;
    arena.payments += 1;
    arena.cluster.deployment.set_now(now());
    let active = arena.cluster.active().clone();
    let mut message = sol(&EXCHANGE, 5_000 + number);
    message[4..36].copy_from_slice(active.content().keys[0].group_key.as_bytes());
    let wallets = &active.content().wallets;
    let wallet = wallets
        .iter()
        .find(|w| w.id.as_str() == SOLANA_WALLET)
        .unwrap();
    let deployment = &arena.cluster.deployment;
    let mut body = deployment.sign_request("x", wallet, &wallet.path, Network::SOLANA, message);
    body.external_id = ExternalId::new(format!("solana-{number}")).unwrap();
    arena.signed(countersign_policy::testing::PAYMENTS, body)
}

/// In DKLs23 a cheating peer is banned for the key, durably: it never signs with this node again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_cheats_in_a_dkls23_session_is_named_and_banned_for_ever() {
    let mut arena = Arena::with_dkls23().await;
    // Somewhere in the oblivious transfer, past the commitments: what only a cheat sends.
    let lie: Lie = Arc::new(|frame| {
        if frame.kind == FrameKind::PointToPoint {
            let place = frame.body.len() - 2_000;
            frame.body[place] ^= 1;
        }
        true
    });
    let victim_node = arena.node(1);
    let _proxy = Proxy::before(&mut arena, &victim_node, lie).await;
    let session = arena.session().await;
    let codes = &[ProblemCode::Protocol];
    let problem = victim(&mut arena, "damaged messages in DKLs23", session, codes).await;
    let (one, liar) = (arena.node(1), arena.node(2));
    assert_eq!(problem.culprits, std::slice::from_ref(&liar), "{problem}");
    let banned = arena.cluster.status(&one).await.keys[0].banned.clone();
    assert_eq!(banned, [liar], "{problem}");
    arena.cluster.kill(&one).await;
    arena.cluster.start_node(&one).await;
    let request = arena.payment();
    let authorization = arena.authorize(&request);
    let expected = (ProblemCode::Protocol, "caught cheating");
    let attack = "banned node, after a restart";
    arena
        .prepare_is_refused(attack, &authorization, &request, expected)
        .await;
    // Nobody else is: the two others sign.
    let set = [arena.node(1), arena.node(3)];
    let request = arena.payment();
    let authorization = arena.cluster.authorize(&request, &set, 1);
    let signed = arena.cluster.sign(&authorization, &request, &set).await;
    assert!(signed.unwrap().iter().all(Result::is_ok));
    arena.finish();
}

/// A wrong share of the last round proves nothing beyond itself: its sender is named, and no one is banned.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrong_dkls23_share_names_its_sender_and_bans_nobody() {
    let mut arena = Arena::with_dkls23().await;
    let lie: Lie = Arc::new(|frame| {
        if frame.kind == FrameKind::Broadcast {
            let last = frame.body.len() - 1;
            frame.body[last] ^= 1;
        }
        true
    });
    let (one, liar) = (arena.node(1), arena.node(2));
    let proxy = Proxy::before(&mut arena, &one, lie).await;
    let session = arena.session().await;
    let codes = &[ProblemCode::Protocol];
    let problem = victim(&mut arena, "wrong share in DKLs23", session, codes).await;
    assert_eq!(problem.culprits, [liar], "{problem}");
    for node in arena.cluster.members() {
        let banned = arena.cluster.status(&node).await.keys[0].banned.clone();
        assert!(banned.is_empty(), "{node}: {banned:?}");
    }
    drop(proxy);
    let set = [arena.node(1), arena.node(3)];
    let request = arena.payment();
    let authorization = arena.cluster.authorize(&request, &set, 1);
    let signed = arena.cluster.sign(&authorization, &request, &set).await;
    assert!(signed.unwrap().iter().all(Result::is_ok));
    arena.finish();
}
