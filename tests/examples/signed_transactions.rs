//! Writes random transactions, signed with a published test key, one JSON object a line, for libraries from outside to
//! check (`tests/outside/run.sh`): `cargo run -p countersign-tests --example signed_transactions -- COUNT SEED`.

use std::error::Error;
use std::io::{self, BufWriter, Write};

use countersign_policy::{Address, Network, PublicKey, Signature, SigningDigest, decode};
use countersign_tests::transactions::{Choices, RandomTransaction, random_evm, random_tron};
use k256::ecdsa::SigningKey;
use k256::ecdsa::signature::hazmat::PrehashSigner;
use serde::Serialize;

/// The key of the example in EIP-155: everybody has it.
const TEST_KEY: [u8; 32] = [0x46; 32];

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    written: &'a RandomTransaction,
    unsigned: String,
    digest: SigningDigest,
    signed: String,
    tx_id: String,
    from: Address,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let count: u64 = args
        .next()
        .unwrap_or_default()
        .parse()
        .map_err(|_| "usage: signed_transactions COUNT SEED")?;
    let mut choices = Choices::new(args.next().unwrap_or_default().parse()?);
    let key = SigningKey::from_slice(&TEST_KEY)?;
    let point = key.verifying_key().to_encoded_point(true);
    let public_key = PublicKey::secp256k1(point.as_bytes().try_into()?)?;
    let owner = public_key.address(&Network::TRON)?;
    let mut out = BufWriter::new(io::stdout().lock());
    for at in 0..count {
        let written = match at % 5 {
            0 | 1 => random_tron(&mut choices, owner.as_bytes().try_into()?),
            _ => random_evm(&mut choices),
        };
        let network: Network = written.network.parse()?;
        let transaction = decode(&network, &written.bytes)?;
        let signature: k256::ecdsa::Signature =
            key.sign_prehash(transaction.digest().as_bytes())?;
        let signature = signature.normalize_s().unwrap_or(signature);
        let (r, s) = signature.split_bytes();
        let signed = transaction.assemble(
            &Signature::Secp256k1 {
                r: r.into(),
                s: s.into(),
            },
            &public_key,
        )?;
        let line = Line {
            written: &written,
            unsigned: format!("0x{}", hex::encode(&written.bytes)),
            digest: transaction.digest(),
            signed: format!("0x{}", hex::encode(&signed.bytes)),
            tx_id: signed.tx_id,
            from: public_key.address(&network)?,
        };
        serde_json::to_writer(&mut out, &line)?;
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}
