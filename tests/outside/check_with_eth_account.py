"""Checks EVM transactions that Countersign put together, with eth-account: `check_with_eth_account.py FILE COUNT`.

Reads the lines that tests/examples/signed_transactions.rs writes; prints failures, then "PASSED FAILED".
"""

import json
import sys

from eth_account import Account
from eth_account._utils.legacy_transactions import Transaction
from eth_account.typed_transactions import TypedTransaction
from eth_utils import keccak
from hexbytes import HexBytes


def check(record):
    signed = HexBytes(record["signed"])
    assert Account.recover_transaction(signed) == record["from"], "signer"
    assert "0x" + keccak(signed).hex() == record["tx_id"], "transaction id"
    fields = Transaction.from_bytes(signed).as_dict() if signed[0] > 0x7F else TypedTransaction.from_bytes(signed).as_dict()
    price = fields.get("maxFeePerGas", fields.get("gasPrice"))
    assert str(price * fields["gas"]) == record["max_fee"], "maximum fee"
    unsigned = {name: value for name, value in fields.items() if name not in "vrs"}
    if signed[0] > 0x7F:
        # EIP-155: v carries the chain id.
        unsigned["chainId"] = (fields["v"] - 35) // 2
    assert f"eip155:{unsigned['chainId']}" == record["network"], "chain"
    # eth-account signs by RFC 6979 too: the same key gives the same bytes.
    key = b"\x46" * 32
    again = Account.sign_transaction({**unsigned, "to": HexBytes(unsigned["to"])}, key)
    assert again.raw_transaction == signed, "signed bytes"


def main():
    passed = failed = 0
    with open(sys.argv[1], encoding="utf-8") as lines:
        records = (json.loads(line) for line in lines)
        for record in (r for r in records if r["network"].startswith("eip155:")):
            if passed + failed == int(sys.argv[2]):
                break
            try:
                check(record)
                passed += 1
            except Exception as error:  # whatever the library objects to is a failure
                failed += 1
                if failed <= 10:
                    print(f"{record['network']} {record['signed']}: {error!r}", file=sys.stderr)
    print(passed, failed)


main()
