//! What the payment service of the demonstration asks for.

use std::time::{Duration, Instant};

use countersign_coordinator::{RequestView, StateName};
use countersign_policy::bundle::ActiveBundle;
use countersign_policy::statement::StatedIntent;
use countersign_policy::{Address, Amount, ExternalId, Network, WalletId};

use super::report::Done;
use crate::amount::parse_units;
use crate::api::Api;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::policy::entries::resolve_asset;
use crate::profile::Profile;
use crate::request::build::{Chain, Payment};
use crate::request::view::{REQUESTS, reason};
use crate::request::{Payer, sign, submit};

/// One payment.
pub struct Order {
    /// For people.
    pub what: &'static str,
    /// How it must end.
    pub expected: Expected,
    wallet: &'static str,
    network: &'static str,
    asset: &'static str,
    amount: &'static str,
    to: &'static str,
    /// The amount that the statement says, when it is another one than the bytes say.
    stated: Option<&'static str>,
    nonce: u64,
}

/// How a payment must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// With a signature.
    Signed,
    /// Policy says no.
    Blocked,
}

impl Expected {
    /// Whether it is this state.
    pub fn is(self, state: StateName) -> bool {
        match self {
            Self::Signed => state == StateName::Signed,
            Self::Blocked => state == StateName::Blocked,
        }
    }
}

const ETHEREUM: &str = "eip155:1";
const BSC: &str = "eip155:56";
const TRON: &str = "tron:0x2b6653dc";
const SOLANA: &str = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp";
/// Entries of the demonstration's address book.
const EVM_EXCHANGE: &str = "0x28C6c06298d514Db089934071355E5743bf21d60";
const TRON_EXCHANGE: &str = "TQn9Y2khEsLJW1ChVWFMSMeRDow5KcbLSE";
const SOLANA_EXCHANGE: &str = "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM";
/// In nobody's address book: the second account of the well-known test mnemonic "test test test ... junk".
const STRANGER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
/// Ids of a Tron block and a Solana block, as a payment layer would ask its nodes for. Made up.
const TRON_BLOCK: &str = "0000000004c4b400a1b2c3d4e5f60718293a4b5c6d7e8f901122334455667788";
const SOLANA_BLOCK: &str = "4sGjMW1sUnHzSxGspuhpqLDx6wiyjNtZAMdL4VZHirAn";

const fn order(
    what: &'static str,
    network: &'static str,
    asset: &'static str,
    amount: &'static str,
    to: &'static str,
    nonce: u64,
) -> Order {
    Order {
        what,
        expected: Expected::Signed,
        wallet: "treasury",
        network,
        asset,
        amount,
        to,
        stated: None,
        nonce,
    }
}

const fn refused(order: Order, stated: Option<&'static str>) -> Order {
    Order {
        expected: Expected::Blocked,
        stated,
        ..order
    }
}

/// What policy allows.
pub const ALLOWED: [Order; 5] = [
    order(
        "12.50 USDT on Ethereum",
        ETHEREUM,
        "USDT",
        "12.50",
        EVM_EXCHANGE,
        0,
    ),
    order(
        "80 USDT on BNB Smart Chain",
        BSC,
        "USDT",
        "80",
        EVM_EXCHANGE,
        0,
    ),
    order("250 USDT on Tron", TRON, "USDT", "250", TRON_EXCHANGE, 0),
    order("35 TRX", TRON, "TRX", "35", TRON_EXCHANGE, 1),
    Order {
        wallet: "solana",
        ..order("1.25 SOL", SOLANA, "SOL", "1.25", SOLANA_EXCHANGE, 0)
    },
];

/// What it does not.
pub const REFUSED: [Order; 3] = [
    refused(
        order(
            "12.50 USDT to a stranger",
            ETHEREUM,
            "USDT",
            "12.50",
            STRANGER,
            1,
        ),
        None,
    ),
    refused(
        order(
            "50,000.01 USDT, over the cap",
            ETHEREUM,
            "USDT",
            "50000.01",
            EVM_EXCHANGE,
            1,
        ),
        None,
    ),
    refused(
        order(
            "bytes for 900 USDT, stated as 9",
            ETHEREUM,
            "USDT",
            "900",
            EVM_EXCHANGE,
            1,
        ),
        Some("9"),
    ),
];

/// What two officers have to approve.
pub const LARGE: Order = order(
    "20,000 USDT, which officers approve",
    ETHEREUM,
    "USDT",
    "20000",
    EVM_EXCHANGE,
    1,
);

/// What would pass the day's limit, of which 80 are used.
pub const OVER_THE_LIMIT: [Order; 1] = [refused(
    order(
        "50 USDT more on BNB Smart Chain",
        BSC,
        "USDT",
        "50",
        EVM_EXCHANGE,
        1,
    ),
    None,
)];

/// What is asked for while the wallet is frozen.
pub const WHILE_FROZEN: [Order; 1] = [refused(
    order(
        "5 USDT from the frozen wallet",
        ETHEREUM,
        "USDT",
        "5",
        EVM_EXCHANGE,
        2,
    ),
    None,
)];

/// What is asked for when the freeze has ended.
pub const AFTER_THE_FREEZE: [Order; 1] = [order(
    "6 USDT when the freeze has ended",
    ETHEREUM,
    "USDT",
    "6",
    EVM_EXCHANGE,
    2,
)];

/// What the CGGMP24 key signs.
pub const FROM_THE_VAULT: [Order; 2] = [
    Order {
        wallet: "vault",
        ..order(
            "700 USDT from a presignature",
            ETHEREUM,
            "USDT",
            "700",
            EVM_EXCHANGE,
            0,
        )
    },
    Order {
        wallet: "vault",
        ..order(
            "800 USDT from another one",
            ETHEREUM,
            "USDT",
            "800",
            EVM_EXCHANGE,
            1,
        )
    },
];

/// What is signed with one node gone.
pub const AFTER_A_CRASH: [Order; 3] = [
    order(
        "99.99 USDT on Ethereum",
        ETHEREUM,
        "USDT",
        "99.99",
        EVM_EXCHANGE,
        3,
    ),
    order("5 USDT on Tron", TRON, "USDT", "5", TRON_EXCHANGE, 2),
    Order {
        wallet: "solana",
        ..order("0.5 SOL", SOLANA, "SOL", "0.5", SOLANA_EXCHANGE, 1)
    },
];

/// How long a payment may take in the demonstration, in seconds.
const WAIT: u64 = 30;

impl Order {
    /// Makes the transaction, states what it means, signs the statement, sends it, and waits for its end.
    pub async fn place(
        &self,
        api: &Api,
        profile: &Profile,
        active: &ActiveBundle,
    ) -> Outcome<Done> {
        let placed = self.ask(api, profile, active, WAIT).await?;
        placed.finished(api).await
    }

    /// The same without waiting for more than `wait` seconds.
    pub async fn ask(
        &self,
        api: &Api,
        profile: &Profile,
        active: &ActiveBundle,
        wait: u64,
    ) -> Outcome<Placed> {
        let network: Network = self.network.parse().or_broken("a network")?;
        let wallet = WalletId::new(self.wallet).or_broken("a wallet")?;
        let payer = Payer::find(active, &wallet, &network, None)?;
        let payment = self.payment(active, network, payer.address)?;
        let transaction = payment.build(&self.chain())?;
        let mut intent = StatedIntent::of(transaction.intent());
        if let Some(stated) = self.stated {
            let amount = parse_units(stated, payment.asset.decimals).map_err(Failure::broken)?;
            intent.transfers.iter_mut().for_each(|t| t.amount = amount);
        }
        let external_id =
            ExternalId::new(format!("demo-{}", uuid())).or_broken("an external id")?;
        let request = payer.request(network, external_id, &transaction, intent);
        let envelope = sign(profile, request, 300)?;
        let started = Instant::now();
        Ok(Placed {
            view: submit(api, &envelope, wait).await?,
            payment,
            unsigned: transaction.preimage().to_vec(),
            started,
        })
    }

    fn payment(&self, active: &ActiveBundle, network: Network, from: Address) -> Outcome<Payment> {
        let known = &active.content().assets;
        let asset = resolve_asset(self.asset, Some(&network), known).map_err(Failure::broken)?;
        let amount: Amount = parse_units(self.amount, asset.decimals).map_err(Failure::broken)?;
        Ok(Payment {
            network,
            from,
            to: Address::parse(&network, self.to).or_fail(Exit::Failed, "a destination")?,
            asset,
            amount,
        })
    }

    /// What a payment layer would have asked the chain for.
    fn chain(&self) -> Chain {
        Chain {
            nonce: Some(self.nonce),
            max_fee_per_gas: Some(20_000_000_000),
            max_priority_fee_per_gas: Some(1_000_000_000),
            tron_ref_block: Some(TRON_BLOCK.to_owned()),
            solana_blockhash: Some(SOLANA_BLOCK.to_owned()),
            ..Chain::default()
        }
    }
}

/// A payment that was asked for.
pub struct Placed {
    /// The request as it was last seen.
    pub view: RequestView,
    payment: Payment,
    unsigned: Vec<u8>,
    started: Instant,
}

impl Placed {
    /// Waits for its end.
    pub async fn finished(mut self, api: &Api) -> Outcome<Done> {
        self.watch(api, StateName::is_final).await?;
        self.done()
    }

    /// Waits until its state is one of those.
    pub async fn watch(&mut self, api: &Api, until: impl Fn(StateName) -> bool) -> Outcome {
        while !until(self.view.state) && self.started.elapsed() < Duration::from_secs(WAIT) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.view = api.get(&format!("{REQUESTS}/{}", self.view.id)).await?;
        }
        Ok(())
    }

    fn done(&self) -> Outcome<Done> {
        let (view, payment) = (&self.view, &self.payment);
        let prefix = if payment.network.chain_id().is_some() {
            "0x"
        } else {
            ""
        };
        let strip = |text: &String| text.strip_prefix("0x").unwrap_or(text).to_owned();
        Ok(Done {
            id: view.id,
            network: payment.network,
            state: view.state,
            unsigned: format!("{prefix}{}", hex::encode(&self.unsigned)),
            signed: view
                .signed
                .as_ref()
                .map(|signed| format!("{prefix}{}", strip(signed))),
            tx_id: view.tx_id.clone(),
            from: payment.from,
            reason: reason(view),
            participants: view.participants.clone(),
            took: self.started.elapsed(),
        })
    }
}

fn uuid() -> String {
    let mut bytes = [0u8; 8];
    rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, &mut bytes);
    hex::encode(bytes)
}
