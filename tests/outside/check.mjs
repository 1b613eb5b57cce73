// Checks transactions that Countersign put together, with ethers and tronweb: `node check.mjs FILE`.
// FILE has one JSON object a line, as tests/examples/signed_transactions.rs writes them. Prints failures, then "PASSED FAILED".

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Interface, Transaction, Wallet, getAddress } from 'ethers';
import { TronWeb, utils } from 'tronweb';

// The key of the example in EIP-155: everybody has it.
const wallet = new Wallet('0x' + '46'.repeat(32));
const erc20 = new Interface([
  'function transfer(address to, uint256 amount)',
  'function transferFrom(address from, address to, uint256 amount)',
  'function approve(address spender, uint256 amount)',
]);

/** The meaning of call data to `contract`, by ethers. `name` writes an account, `token` an asset. */
function meaning(contract, data, value, native, name, token) {
  const coin = { asset: native, to: name(contract), amount: String(value) };
  if (data === '0x') return { kind: 'native-transfer', transfers: [coin], approvals: [] };
  const call = erc20.parseTransaction({ data });
  if (call === null) return { kind: 'contract-call', transfers: value > 0n ? [coin] : [], approvals: [] };
  const asset = token(contract);
  const amount = String(call.args.at(-1));
  if (call.name === 'approve') {
    return { kind: 'token-approve', transfers: [], approvals: [{ asset, spender: name(call.args[0]), amount }] };
  }
  if (call.name === 'transfer') {
    return { kind: 'token-transfer', transfers: [{ asset, to: name(call.args[0]), amount }], approvals: [] };
  }
  const moved = { asset, from: name(call.args[0]), to: name(call.args[1]), amount };
  return { kind: 'token-transfer-from', transfers: [moved], approvals: [] };
}

function same(record, found) {
  const { kind, transfers, approvals } = record;
  assert.deepEqual(found, { kind, transfers, approvals });
}

function checkEvm(record) {
  const transaction = Transaction.from(record.signed);
  assert.equal(transaction.from, record.from);
  assert.equal(transaction.hash, record.tx_id);
  assert.equal(transaction.unsignedSerialized, record.unsigned);
  assert.equal(transaction.unsignedHash, record.digest);
  assert.equal(`eip155:${transaction.chainId}`, record.network);
  assert.equal(transaction.serialized, record.signed);
  // Both sign deterministically (RFC 6979), so the same key gives the same bytes.
  const again = Transaction.from(record.unsigned);
  again.signature = wallet.signingKey.sign(again.unsignedHash);
  assert.equal(again.serialized, record.signed);
  const coins = { 56: 714, 137: 966 };
  const native = `${record.network}/slip44:${coins[transaction.chainId] ?? 60}`;
  const token = (contract) => `${record.network}/erc20:${contract.toLowerCase()}`;
  same(record, meaning(transaction.to, transaction.data, transaction.value, native, getAddress, token));
  const price = transaction.maxFeePerGas ?? transaction.gasPrice;
  assert.equal(String(price * transaction.gasLimit), record.max_fee);
}

const hex = (bytes) => Buffer.from(bytes).toString('hex');

function checkTron(record) {
  const proto = globalThis.TronWebProto.Transaction;
  const transaction = proto.deserializeBinary(Buffer.from(record.signed.slice(2), 'hex'));
  assert.equal('0x' + hex(transaction.getRawData().serializeBinary()), record.unsigned);
  assert.equal(utils.transaction.txPbToTxID(transaction).replace(/^0x/, ''), record.tx_id);
  assert.equal('0x' + record.tx_id, record.digest);
  const [signature] = transaction.getSignatureList_asU8();
  const signer = utils.crypto.ecRecover(record.tx_id, hex(signature));
  assert.equal(TronWeb.address.fromHex(signer), record.from);
  // r and s as tronweb signs; it writes 27 or 28 where Countersign writes 0 or 1, and java-tron takes both.
  const theirs = utils.crypto.ECKeySign(Buffer.from(record.tx_id, 'hex'), Buffer.from(wallet.privateKey.slice(2), 'hex'));
  assert.equal(theirs.slice(0, 128).toLowerCase().replace(/^0x/, ''), hex(signature.slice(0, 64)));
  assert.equal(parseInt(theirs.slice(128), 16) - 27, signature[64]);

  const [contract] = transaction.getRawData().getContractList();
  const type = contract.getType() === 1 ? 'TransferContract' : 'TriggerSmartContract';
  const { value } = utils.deserializeTx.deserializeTransaction(type, record.unsigned.slice(2)).contract[0].parameter;
  assert.equal(TronWeb.address.fromHex(value.owner_address), record.from);
  const name = (account) => TronWeb.address.fromHex('41' + account.toLowerCase().replace(/^0x/, ''));
  const plain = (address) => '0x' + address.slice(2);
  const token = (account) => `${record.network}/trc20:${name(account)}`;
  const native = `${record.network}/slip44:195`;
  const found =
    type === 'TransferContract'
      ? meaning(plain(value.to_address), '0x', BigInt(value.amount), native, name, token)
      : meaning(plain(value.contract_address), '0x' + value.data, BigInt(value.call_value ?? 0), native, name, token);
  same(record, found);
}

let [passed, failed] = [0, 0];
for (const line of readFileSync(process.argv[2], 'utf8').trimEnd().split('\n')) {
  const record = JSON.parse(line);
  try {
    if (record.network.startsWith('eip155:')) checkEvm(record);
    else checkTron(record);
    passed += 1;
  } catch (error) {
    failed += 1;
    if (failed <= 10) console.error(`${record.network} ${record.unsigned}: ${error.message}`);
  }
}
console.log(`${passed} ${failed}`);
