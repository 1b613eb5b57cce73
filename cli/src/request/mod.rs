//! `countersign request`: ask for a signature.

pub mod build;
pub mod view;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use countersign_coordinator::{RequestView, Simulation};
use countersign_policy::bundle::{ActiveBundle, Wallet};
use countersign_policy::statement::{SignRequest, StatedIntent, TransactionHex};
use countersign_policy::{
    Address, DecodedTransaction, DerivationPath, Envelope, ExternalId, Network, WalletId, decode,
};

use crate::amount::parse_units;
use crate::api::{Api, read_json};
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::Format;
use crate::policy::entries::resolve_asset;
use crate::profile::{Profile, ProfileArg};
use crate::quorum::issue;
use crate::verified;
use build::{Chain, Payment};
use view::REQUESTS;

/// Asks for a signature: makes or takes an unsigned transaction, says what it means, signs that statement with the payment
/// service's key, and sends it to the coordinator.
///
/// Every signer decodes the bytes itself and compares them with what the statement says. The external id is the payment's
/// permanent name: one external id can be signed at most once, ever; asking again with the same one is safe.
#[derive(Debug, Parser)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Transfer(Box<Transfer>),
    Raw(Raw),
}

/// Makes the transaction of one transfer and asks for its signature.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign request transfer --wallet treasury --network eip155:1 --asset USDT --to 0x28C6... --amount 12.50 \\\n      \
      --nonce 7 --max-fee-per-gas 20000000000 --max-priority-fee-per-gas 1000000000 --external-id payout-1042 --wait 20\n  \
    countersign request transfer --wallet treasury --network tron:0x2b6653dc --asset USDT --to TQn9... --amount 80 \\\n      \
      --tron-ref-block 0000000004c2b9b8... --external-id payout-1043 --wait 20\n  \
    countersign request transfer ... --simulate       says what would happen, without effect")]
struct Transfer {
    #[command(flatten)]
    common: Common,
    /// What moves: a symbol such as USDT or ETH, or a CAIP-19 id.
    #[arg(long)]
    asset: String,
    /// The receiving account.
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// How much, in whole units: 12.50.
    #[arg(long)]
    amount: String,
    #[command(flatten)]
    chain: Chain,
}

/// Asks for the signature of an unsigned transaction made elsewhere. It is decoded here, and its meaning is what the statement
/// says: read it before you send it, with `countersign inspect` or `--simulate`.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  \
    countersign request raw --wallet treasury --network eip155:1 --transaction 0x02f8... --external-id payout-1044 --wait 20")]
struct Raw {
    #[command(flatten)]
    common: Common,
    /// The unsigned transaction in hex: RLP (EVM), raw_data (Tron), the message (Solana).
    #[arg(long, value_name = "HEX")]
    transaction: String,
}

#[derive(Debug, ClapArgs)]
struct Common {
    /// The wallet that pays.
    #[arg(long)]
    wallet: WalletId,
    /// The network as CAIP-2: eip155:1, eip155:56, tron:0x2b6653dc.
    #[arg(long, value_name = "CAIP-2")]
    network: Network,
    /// The child key that pays, at or below the wallet's path [default: the wallet's path].
    #[arg(long)]
    path: Option<DerivationPath>,
    /// The payment's permanent name, 1 to 128 printable characters without spaces.
    #[arg(long, value_name = "NAME", value_parser = external_id)]
    external_id: ExternalId,
    /// Seconds for which the request counts.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    expires_in: u64,
    /// Waits up to this many seconds for the final state.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60))]
    wait: u64,
    /// Only says what the policy would decide, and what the bytes mean.
    #[arg(long)]
    simulate: bool,
    /// Only writes the signed statement, for example to send it with curl.
    #[arg(long, value_name = "FILE", conflicts_with = "simulate")]
    out: Option<PathBuf>,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

fn external_id(text: &str) -> Result<ExternalId, String> {
    ExternalId::new(text).map_err(|e| e.to_string())
}

/// Who pays, and with which key.
pub struct Payer<'a> {
    /// The wallet.
    pub wallet: &'a Wallet,
    /// The path of the paying key.
    pub path: DerivationPath,
    /// The paying account.
    pub address: Address,
}

impl<'a> Payer<'a> {
    /// Derives the paying account from the pinned key.
    pub fn find(
        active: &'a ActiveBundle,
        wallet: &WalletId,
        network: &Network,
        path: Option<&DerivationPath>,
    ) -> Outcome<Self> {
        let (wallet, address) = crate::address::derive(active, wallet, network, path)?;
        Ok(Self {
            wallet,
            path: path.unwrap_or(&wallet.path).clone(),
            address,
        })
    }

    /// What the payment service asks for.
    pub fn request(
        &self,
        network: Network,
        external_id: ExternalId,
        transaction: &DecodedTransaction,
        intent: StatedIntent,
    ) -> SignRequest {
        SignRequest {
            wallet: self.wallet.id.clone(),
            key: self.wallet.key.clone(),
            path: self.path.clone(),
            network,
            external_id,
            transaction: TransactionHex::new(transaction.preimage().to_vec()),
            intent,
        }
    }
}

/// The request as a statement signed by the profile's member.
pub fn sign(profile: &Profile, request: SignRequest, seconds: u64) -> Outcome<Envelope> {
    issue(profile, request, seconds)
}

/// Sends a signed request, and waits up to `wait` seconds for its final state.
pub async fn submit(api: &Api, envelope: &Envelope, wait: u64) -> Outcome<RequestView> {
    let mut headers = vec![("idempotency-key", envelope.digest().to_hex())];
    if wait > 0 {
        headers.push(("prefer", format!("wait={wait}")));
    }
    let answer = api
        .post_with(REQUESTS, envelope, &headers, Duration::from_secs(wait))
        .await?;
    read_json(&answer.body)
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    match args.command {
        Command::Transfer(args) => {
            let (profile, api) = connect(&args.common)?;
            let chain = verified::chain(&api, &profile).await?;
            let active = chain.active();
            let payer = args.common.payer(active)?;
            let transaction = args.payment(active, payer.address)?.build(&args.chain)?;
            args.common.ask(&api, &profile, &payer, &transaction).await
        }
        Command::Raw(args) => {
            let (profile, api) = connect(&args.common)?;
            let chain = verified::chain(&api, &profile).await?;
            let payer = args.common.payer(chain.active())?;
            let digits = args
                .transaction
                .strip_prefix("0x")
                .unwrap_or(&args.transaction);
            let bytes = hex::decode(digits).or_fail(Exit::Usage, "--transaction is not hex")?;
            let transaction = decode(&args.common.network, &bytes)
                .or_fail(Exit::Refused, "the transaction is refused")?;
            args.common.ask(&api, &profile, &payer, &transaction).await
        }
    }
}

fn connect(common: &Common) -> Outcome<(Profile, Api)> {
    let profile = common.profile.load()?;
    let api = Api::new(&profile)?;
    Ok((profile, api))
}

impl Transfer {
    fn payment(&self, active: &ActiveBundle, from: Address) -> Outcome<Payment> {
        let network = self.common.network;
        let known = &active.content().assets;
        let asset = resolve_asset(&self.asset, Some(&network), known).map_err(Failure::usage)?;
        let amount = parse_units(&self.amount, asset.decimals).map_err(Failure::usage)?;
        let to = Address::parse(&network, &self.to).or_fail(Exit::Usage, "--to")?;
        Ok(Payment {
            network,
            from,
            to,
            asset,
            amount,
        })
    }
}

impl Common {
    fn payer<'a>(&self, active: &'a ActiveBundle) -> Outcome<Payer<'a>> {
        Payer::find(active, &self.wallet, &self.network, self.path.as_ref())
    }

    async fn ask(
        &self,
        api: &Api,
        profile: &Profile,
        payer: &Payer<'_>,
        transaction: &DecodedTransaction,
    ) -> Outcome {
        let intent = StatedIntent::of(transaction.intent());
        let request = payer.request(self.network, self.external_id.clone(), transaction, intent);
        let envelope = sign(profile, request.clone(), self.expires_in)?;
        if let Some(out) = &self.out {
            let json = serde_json::to_vec(&envelope).or_broken("cannot write JSON")?;
            std::fs::write(out, json).or_broken(format!("cannot write {}", out.display()))?;
            let answer = serde_json::json!({ "ok": true, "id": envelope.digest(), "file": out });
            return self.format.show(&answer, |_| {
                format!("wrote {}, request {}", out.display(), envelope.digest())
            });
        }
        if self.simulate {
            let told: Simulation = api.post(view::SIMULATE, &envelope).await?;
            self.format.show(&told, view::simulation_text)?;
            return view::simulation_result(&told);
        }
        let answer = match submit(api, &envelope, self.wait).await {
            Err(failure) => self.asked_before(api, &request, failure).await?,
            Ok(answer) => answer,
        };
        self.format.show(&answer, view::text)?;
        view::result(&answer, self.wait > 0)
    }

    /// Whoever asks for the same payment again, perhaps because the first answer was lost, gets the request that has its
    /// name. It must be the very same transaction: then nothing can be paid twice by taking it for an answer.
    async fn asked_before(
        &self,
        api: &Api,
        request: &SignRequest,
        failure: Failure,
    ) -> Outcome<RequestView> {
        let problem = failure.problem.as_deref();
        let taken = problem.filter(|p| p.kind.ends_with(":external-id"));
        let Some(id) = taken.and_then(|p| p.sign_request) else {
            return Err(failure);
        };
        let known = view::read(api, id, self.wait).await?;
        let same = known.unsigned == request.transaction
            && known.wallet == request.wallet
            && known.key == request.key
            && known.path == request.path
            && known.network == request.network;
        if same {
            return Ok(known);
        }
        Err(Failure {
            message: format!(
                "{} names another transaction already: request {id}, {}. Look at it with countersign status {id}; \
                 another payment needs another external id",
                self.external_id,
                known.state.as_str()
            ),
            ..failure
        })
    }
}
