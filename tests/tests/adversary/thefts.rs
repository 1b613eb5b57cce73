//! A payment service's key is stolen, and the coordinator helps: everything that the key can sign, and nothing that policy
//! does not let the service do.

use countersign_policy::bundle::{AddressBookEntry, Group};
use countersign_policy::statement::{SignRequest, TransactionHex};
use countersign_policy::testing::transaction::{
    EXCHANGE, STRANGER, Tron, evm_call, usdt_approve, usdt_bep20, usdt_erc20,
};
use countersign_policy::testing::{
    OFFICER, OTHER_OFFICERS, OTHER_PAYMENTS, PAYMENTS, SOLANA_WALLET, TREASURY, member,
};
use countersign_policy::{Address, GroupId, Network, Protocol};
use countersign_signer::clock::now;
use countersign_signer::node::ResourceConfig;
use countersign_signer::wire::ProblemCode;
use countersign_tests::payments::{request, solana};

use crate::arena::Arena;

/// An address in the book that is not to be used yet.
const TOMORROW: [u8; 20] = [0xe3; 20];
/// The wallet of a key that another service uses.
const VAULT: &str = "hot-2";
/// So many different refused requests freeze their service.
const REFUSALS: usize = 24;
/// The contract of USDT on Ethereum.
const USDT_CONTRACT: [u8; 20] = [
    0xda, 0xc1, 0x7f, 0x95, 0x8d, 0x2e, 0xe5, 0x23, 0xa2, 0x20, 0x62, 0x06, 0x99, 0x45, 0x97, 0xc1,
    0x3d, 0x83, 0x1e, 0xc7,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stolen_service_key_gets_nothing_that_policy_does_not_give_its_service() {
    let resources = ResourceConfig {
        sign_timeout_seconds: 5,
        spare_primes: 0,
        auto_freeze_refusals: REFUSALS,
        ..ResourceConfig::default()
    };
    let mut arena = Arena::with_resources(resources).await;
    wallets(&mut arena).await;
    unreadable(&mut arena).await;
    let mut tried = destinations(&mut arena).await;
    tried += calls(&mut arena).await;
    tried += other_wallets(&mut arena).await;
    arena.an_honest_payment_is_signed().await;
    until_frozen(&mut arena, tried).await;
    arena.finish();
}

/// A wallet that the service may not use and one that officers guard, each with a key of its own, and an address for later.
async fn wallets(arena: &mut Arena) {
    arena.cluster.make_key("vault", Protocol::Dkls23, 2).await;
    let guarded = Protocol::FrostEd25519;
    arena.cluster.make_key("treasury", guarded, 2).await;
    arena
        .policy(|content| {
            content.groups = vec![Group {
                id: GroupId::new(TREASURY).unwrap(),
                members: vec![member(OFFICER), member(OTHER_OFFICERS[0])],
            }];
            for rule in &mut content.rules {
                match rule.wallet.as_str() {
                    SOLANA_WALLET => rule.needs = Some("treasury:2".parse().unwrap()),
                    VAULT => rule.initiators = vec![member(OTHER_PAYMENTS)],
                    _ => {}
                }
            }
            content.address_book.push(AddressBookEntry {
                label: "from-tomorrow-on".to_owned(),
                network: Network::ETHEREUM,
                address: Address::Evm(TOMORROW),
                active_from: now().plus_seconds(86_400),
            });
        })
        .await;
}

async fn is_refused(
    arena: &mut Arena,
    attack: &str,
    body: SignRequest,
    expected: (ProblemCode, &str),
) {
    let request = arena.signed(PAYMENTS, body);
    let authorization = arena.authorize(&request);
    arena
        .prepare_is_refused(attack, &authorization, &request, expected)
        .await;
}

/// Where to, and how much. Returns how many were refused by policy.
async fn destinations(arena: &mut Arena) -> usize {
    let lookalike = {
        let mut address = EXCHANGE;
        address[9] ^= 1;
        address
    };
    let unlisted = "is not among the destinations";
    let bsc: Network = "eip155:56".parse().unwrap();
    let tron = Tron {
        owner: owner(arena),
        ..Tron::at(now())
    };
    let cases = [
        (
            "stolen key: USDT on BSC to a stranger",
            bsc,
            usdt_bep20(&STRANGER, 5, 1),
            unlisted,
        ),
        (
            "stolen key: USDT on Tron to a stranger",
            Network::TRON,
            tron.usdt_trc20(&STRANGER, 5),
            unlisted,
        ),
        (
            "stolen key: TRX to a stranger",
            Network::TRON,
            tron.trx(&STRANGER, 5),
            unlisted,
        ),
        (
            "stolen key: to an address that looks like a listed one",
            Network::ETHEREUM,
            usdt_erc20(&lookalike, 5, 1),
            unlisted,
        ),
        (
            "stolen key: to the token's own contract",
            Network::ETHEREUM,
            usdt_erc20(&USDT_CONTRACT, 5, 2),
            unlisted,
        ),
        (
            "stolen key: to the zero address",
            Network::ETHEREUM,
            usdt_erc20(&[0; 20], 5, 3),
            unlisted,
        ),
        (
            "stolen key: to an address that is listed from tomorrow on",
            Network::ETHEREUM,
            usdt_erc20(&TOMORROW, 5, 4),
            "may not be used before",
        ),
        (
            "stolen key: all the USDT that 64 bits hold",
            Network::ETHEREUM,
            usdt_erc20(&EXCHANGE, u64::MAX, 5),
            "above the cap",
        ),
        (
            "stolen key: one unit above the cap on Tron",
            Network::TRON,
            tron.usdt_trc20(&EXCHANGE, 1_000_000_001),
            "above the cap",
        ),
    ];
    let count = cases.len();
    for (attack, network, transaction, words) in cases {
        let body = arena.body_on(network, transaction);
        is_refused(arena, attack, body, (ProblemCode::Policy, words)).await;
    }
    count
}

fn owner(arena: &Arena) -> [u8; 20] {
    let key = &arena.cluster.active().content().keys[0];
    let owner = key.group_key.address(&Network::TRON).unwrap();
    owner.as_bytes().try_into().unwrap()
}

/// A selector and its arguments, each of 32 bytes.
fn data(selector: [u8; 4], words: &[[u8; 32]]) -> Vec<u8> {
    [&selector[..], &words.concat()].concat()
}

fn word(account: [u8; 20]) -> [u8; 32] {
    let mut word = [0; 32];
    word[12..].copy_from_slice(&account);
    word
}

/// Calls that move nothing now and everything later. Returns how many there were.
async fn calls(arena: &mut Arena) -> usize {
    let everything = [0xff; 32];
    let token = |data: Vec<u8>, nonce: u64| evm_call(&USDT_CONTRACT, 0, data, nonce);
    let own = word(owner(arena));
    let none = "no rule allows";
    let cases = [
        (
            "stolen key: unlimited approve for a listed address",
            token(
                data([0x09, 0x5e, 0xa7, 0xb3], &[word(EXCHANGE), everything]),
                10,
            ),
            none,
        ),
        (
            "stolen key: unlimited approve for a stranger",
            token(
                data([0x09, 0x5e, 0xa7, 0xb3], &[word(STRANGER), everything]),
                11,
            ),
            none,
        ),
        (
            "stolen key: small approve for a listed address",
            usdt_approve(&EXCHANGE, 1, 12),
            none,
        ),
        (
            "stolen key: increaseAllowance",
            token(
                data([0x39, 0x50, 0x93, 0x51], &[word(STRANGER), everything]),
                13,
            ),
            none,
        ),
        (
            "stolen key: permit",
            token(
                data(
                    [0xd5, 0x05, 0xac, 0xcf],
                    &[own, word(STRANGER), everything, everything],
                ),
                14,
            ),
            none,
        ),
        (
            "stolen key: setApprovalForAll",
            token(
                data([0xa2, 0x2c, 0xb4, 0x65], &[word(STRANGER), word([1; 20])]),
                15,
            ),
            none,
        ),
        (
            "stolen key: transferFrom in favour of a stranger",
            token(
                data(
                    [0x23, 0xb8, 0x72, 0xdd],
                    &[own, word(STRANGER), word([1; 20])],
                ),
                16,
            ),
            "",
        ),
        (
            "stolen key: execTransaction of a multisig wallet",
            evm_call(&STRANGER, 0, data([0x6a, 0x76, 0x12, 0x02], &[own]), 17),
            none,
        ),
        (
            "stolen key: call of a listed address with data",
            evm_call(&EXCHANGE, 1, vec![1, 2, 3, 4], 18),
            none,
        ),
    ];
    let count = cases.len();
    for (attack, transaction, words) in cases {
        let body = arena.body_of(transaction);
        is_refused(arena, attack, body, (ProblemCode::Policy, words)).await;
    }
    count
}

/// Bytes that are no transaction whose meaning everybody agrees on. They count towards no freeze: who sends them may be the
/// coordinator.
async fn unreadable(arena: &mut Arena) {
    let honest = usdt_erc20(&EXCHANGE, 5, 30);
    let with_value = {
        let call = data([0xa9, 0x05, 0x9c, 0xbb], &[word(EXCHANGE), word([1; 20])]);
        evm_call(&USDT_CONTRACT, 7, call, 31)
    };
    let delegation = {
        // EIP-7702 in place of EIP-1559.
        let mut bytes = honest.clone();
        bytes[0] = 0x04;
        bytes
    };
    let blob = {
        let mut bytes = honest.clone();
        bytes[0] = 0x03;
        bytes
    };
    let dirty = {
        // A bit in the twelve bytes before an address, which contracts ignore.
        let mut call = data([0xa9, 0x05, 0x9c, 0xbb], &[word(EXCHANGE), word([1; 20])]);
        call[5] = 1;
        evm_call(&USDT_CONTRACT, 0, call, 32)
    };
    let short = {
        let call = data([0xa9, 0x05, 0x9c, 0xbb], &[word(EXCHANGE), word([1; 20])]);
        evm_call(&USDT_CONTRACT, 0, call[..67].to_vec(), 33)
    };
    let cases: [(&str, Vec<u8>); 9] = [
        ("stolen key: a bare hash", vec![0x5a; 32]),
        (
            "stolen key: a message with Ethereum's prefix",
            b"\x19Ethereum Signed Message:\n5hello".to_vec(),
        ),
        (
            "stolen key: typed data",
            [&[0x19, 0x01][..], &[0x5a; 64]].concat(),
        ),
        ("stolen key: delegation of the account", delegation),
        ("stolen key: blob transaction", blob),
        ("stolen key: token transfer that carries ether", with_value),
        ("stolen key: token transfer with dirty address bits", dirty),
        ("stolen key: token transfer cut short", short),
        ("stolen key: nothing at all", Vec::new()),
    ];
    for (attack, bytes) in cases {
        let mut body = arena.payment_body();
        let like = arena.payment();
        body.transaction = TransactionHex::new(bytes);
        let request = arena.signed(PAYMENTS, body);
        let authorization = arena.authorize_like(&request, &like);
        let expected = (ProblemCode::Transaction, "refused");
        arena
            .prepare_is_refused(attack, &authorization, &request, expected)
            .await;
    }
}

/// Wallets of others. Returns how many requests policy refused.
async fn other_wallets(arena: &mut Arena) -> usize {
    let transaction = usdt_erc20(&EXCHANGE, 5, 20);
    let request = request(
        &mut arena.cluster,
        VAULT,
        Network::ETHEREUM,
        transaction,
        "vault",
    );
    let authorization = arena.authorize(&request);
    let expected = (ProblemCode::Policy, "no rule lets this initiator");
    let attack = "stolen key: wallet of another service";
    arena
        .prepare_is_refused(attack, &authorization, &request, expected)
        .await;
    let request = solana(&mut arena.cluster, "guarded", 5);
    let authorization = arena.authorize(&request);
    let expected = (
        ProblemCode::Approval,
        "group treasury has to approve: 0 of 2",
    );
    let attack = "stolen key: wallet that officers guard, without approvals";
    arena
        .prepare_is_refused(attack, &authorization, &request, expected)
        .await;
    1
}

/// Who keeps trying is stopped, also with what the service may do.
async fn until_frozen(arena: &mut Arena, tried: usize) {
    for more in tried..REFUSALS {
        let attack = format!("stolen key: attempt {} of those that stop it", more + 1);
        let nonce = 100 + more as u64;
        let body = arena.body_of(usdt_erc20(&STRANGER, 5, nonce));
        let expected = (ProblemCode::Policy, "is not among the destinations");
        is_refused(arena, &attack, body, expected).await;
    }
    let body = arena.payment_body();
    let attack = "stolen key: an allowed payment after too many refused ones";
    let expected = (ProblemCode::Policy, "member payments is frozen by node-1");
    is_refused(arena, attack, body, expected).await;
    // The others heard of it.
    let one = arena.node(1);
    let head = arena.freezes(&one).await.head;
    arena.wait_for_freezes(head).await;
    let request = arena.payment();
    let set = [arena.node(2), arena.node(3)];
    let authorization = arena.cluster.authorize(&request, &set, 1);
    let call = countersign_signer::wire::Prepare {
        authorization,
        request,
        approvals: Vec::new(),
    };
    let attack = "stolen key: an allowed payment at nodes that it never tried";
    arena
        .prepare_at_is_refused(attack, &set[0], &call, expected)
        .await;
}
