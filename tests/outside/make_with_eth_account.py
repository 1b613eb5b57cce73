"""Makes random unsigned EVM transactions with eth-account: `make_with_eth_account.py DIRECTORY COUNT SEED`.

Writes the same pairs of files as make.mjs: NAME.hex for `countersign inspect` and NAME.expected.
"""

import json
import random
import sys
from collections import defaultdict
from pathlib import Path

import rlp
from eth_abi import encode
from eth_account._utils.legacy_transactions import serializable_unsigned_transaction_from_dict
from eth_account._utils.transaction_utils import transaction_rpc_to_rlp_structure
from eth_utils import keccak, to_checksum_address

SELECTORS = {
    "transfer(address,uint256)": "token-transfer",
    "transferFrom(address,address,uint256)": "token-transfer-from",
    "approve(address,uint256)": "token-approve",
}
USDC = {1: "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", 8453: "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913"}
CHAINS = [1, 8453, 43114, 11155111]


def number(choices, bits):
    return choices.getrandbits(choices.randint(1, bits)) if choices.random() > 0.05 else 0


def address(choices):
    return to_checksum_address(choices.randbytes(20))


def token_call(choices, network, contract, known):
    """Call data of one of the three token methods, and what it means."""
    method = choices.choice(list(SELECTORS))
    types = method[method.index("(") + 1 : -1].split(",")
    accounts = [address(choices) for _ in types[:-1]]
    amount = number(choices, 256)
    data = keccak(method.encode())[:4] + encode(types, [*accounts, amount])
    entry = {"asset": f"{network}/erc20:{contract.lower()}", "amount": str(amount), "known": known}
    meaning = {"kind": SELECTORS[method], "transfers": [], "approvals": []}
    if method.startswith("approve"):
        meaning["approvals"].append({**entry, "spender": accounts[0]})
    elif method.startswith("transferFrom"):
        meaning["transfers"].append({**entry, "from": accounts[0], "to": accounts[1]})
    else:
        meaning["transfers"].append({**entry, "to": accounts[0]})
    return data, meaning


def make(choices):
    chain_id = choices.choice(CHAINS)
    network = f"eip155:{chain_id}"
    gas, price = number(choices, 32), number(choices, 60)
    to = address(choices)
    fields = {"chainId": chain_id, "nonce": number(choices, 60), "gas": gas, "to": to, "value": 0, "data": b""}
    form = choices.randrange(3)
    if form == 2:
        fields |= {"type": 2, "maxFeePerGas": price, "maxPriorityFeePerGas": min(price, number(choices, 60))}
    else:
        fields |= {"gasPrice": price}
        if form == 1:
            fields |= {"type": 1}
    if form:
        keys = ["0x" + choices.randbytes(32).hex() for _ in range(choices.randrange(3))]
        fields["accessList"] = [{"address": address(choices), "storageKeys": keys}]
    if choices.random() < 0.6:
        known = chain_id in USDC and choices.random() < 0.5
        fields["to"] = to_checksum_address(USDC[chain_id]) if known else to
        fields["data"], meaning = token_call(choices, network, fields["to"], known)
    else:
        fields["value"] = number(choices, 200)
        coin = {"asset": f"{network}/slip44:60", "to": to, "amount": str(fields["value"]), "known": chain_id != 43114}
        meaning = {"kind": "native-transfer", "transfers": [coin], "approvals": []}
    transaction = serializable_unsigned_transaction_from_dict(fields)
    return network, unsigned_bytes(transaction, form), transaction.hash(), {**meaning, "max_fee": str(gas * price)}


def unsigned_bytes(transaction, form):
    if form == 0:
        return rlp.encode(transaction)
    typed = transaction.transaction
    fields = transaction_rpc_to_rlp_structure(typed.dictionary)
    return bytes([form]) + rlp.encode(typed._unsigned_transaction_serializer.from_dict(fields))


def main():
    directory, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    choices = random.Random(seed)
    files = defaultdict(list)
    for _ in range(count):
        network, unsigned, digest, meaning = make(choices)
        expected = {"library": "eth-account", "network": network, "digest": "0x" + digest.hex(), **meaning}
        files[f"eth_account-{network.replace(':', '_')}"].append((unsigned.hex(), expected))
    for name, lines in files.items():
        (directory / f"{name}.hex").write_text("".join(f"{unsigned}\n" for unsigned, _ in lines))
        (directory / f"{name}.expected").write_text("".join(json.dumps(e) + "\n" for _, e in lines))


main()
