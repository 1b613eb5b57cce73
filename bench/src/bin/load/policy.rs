//! One wallet, rule and destination for each protocol's key; all named after the protocol.

use countersign_policy::{Network, Protocol};

const EXCHANGE: &str = "0xe1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1";
/// 32 bytes of 0xe1.
const SOLANA_EXCHANGE: [u8; 32] = [0xe1; 32];

/// Where the protocol's wallet pays.
pub fn network(protocol: Protocol) -> Network {
    match protocol {
        Protocol::FrostEd25519 | Protocol::Pkcs11Ed25519 => Network::SOLANA,
        Protocol::Dkls23 | Protocol::Cggmp24 | Protocol::Pkcs11Secp256k1 => Network::ETHEREUM,
    }
}

/// The change of the policy made together with the protocol's key (TOML).
pub fn of(protocol: Protocol) -> String {
    let (path, asset, max, fee, address) = match protocol {
        Protocol::FrostEd25519 | Protocol::Pkcs11Ed25519 => {
            let address = countersign_policy::Address::Solana(SOLANA_EXCHANGE).to_string();
            ("m", "SOL", "10", "0.0001", address)
        }
        Protocol::Dkls23 | Protocol::Cggmp24 | Protocol::Pkcs11Secp256k1 => {
            ("m/0", "USDT", "10000", "0.02", EXCHANGE.to_owned())
        }
    };
    let network = network(protocol);
    format!(
        r#"
[[wallets]]
id = "{protocol}"
name = "Load on {protocol}"
key = "{protocol}"
path = "{path}"
networks = ["{network}"]

[[address_book]]
label = "Load"
network = "{network}"
address = "{address}"

[[rules]]
id = "{protocol}"
wallet = "{protocol}"
initiators = ["payments"]
network = "{network}"
asset = "{asset}"
destinations = {{ to = "address-book" }}
max = "{max}"

[[fee_caps]]
network = "{network}"
max_fee = "{fee}"
"#
    )
}
