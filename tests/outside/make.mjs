// Makes random unsigned transactions with ethers and tronweb: `node make.mjs DIRECTORY COUNT SEED`.
// Writes NETWORK-FILE.hex (one transaction a line, for `countersign inspect`) and beside it NETWORK-FILE.expected with the
// library's own digest and what was meant.

import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { Interface, Signature, Transaction, Wallet, getAddress } from 'ethers';
import { TronWeb } from 'tronweb';
import { choices } from './random.mjs';

const [directory, count, seed] = process.argv.slice(2);
const random = choices(Number(seed));
// The key of the example in EIP-155: everybody has it.
const wallet = new Wallet('0x' + '46'.repeat(32));
const erc20 = new Interface([
  'function transfer(address to, uint256 amount)',
  'function transferFrom(address from, address to, uint256 amount)',
  'function approve(address spender, uint256 amount)',
]);
const KNOWN = {
  1: '0xdac17f958d2ee523a2206206994597c13d831ec7',
  56: '0x55d398326f99059ff775485246999027b3197955',
  137: '0xc2132d05d31c914a87c6611c10748aeb04b58e8f',
  42161: '0xfd086bc7cd5c481dcc9c85ebe478a1c0b69fcbb9',
  10: '0x94b008aa00579c1307b0ef2c499ad98a8ce58e58',
  8453: '0x833589fcd6edb6e08f4c7c32d4f71b54bda02913',
};
const COIN = { 56: 714, 137: 966 };
const files = new Map();

function write(library, network, unsigned, expected) {
  const name = `${library}-${network.replace(':', '_')}`;
  if (!files.has(name)) files.set(name, { hex: [], expected: [] });
  files.get(name).hex.push(unsigned);
  files.get(name).expected.push(JSON.stringify({ library, network, unsigned, ...expected }));
}

const address = () => '0x' + random.bytes(20);

function accessList() {
  return Array.from({ length: random.below(3) }, () => ({
    address: address(),
    storageKeys: Array.from({ length: random.below(3) }, () => '0x' + random.bytes(32)),
  }));
}

/** A random EVM transaction's fields and meaning. */
function evm() {
  const chainId = Number(random.oneOf(Object.keys(KNOWN)));
  const network = `eip155:${chainId}`;
  const coin = `${network}/slip44:${COIN[chainId] ?? 60}`;
  const type = random.below(3);
  const price = random.number(60);
  const gasLimit = random.number(32);
  const fields = { type, chainId, nonce: Number(random.number(48)), gasLimit, to: address(), value: 0n, data: '0x' };
  if (type === 2) {
    const tip = random.number(60);
    Object.assign(fields, { maxFeePerGas: price, maxPriorityFeePerGas: tip < price ? tip : price });
  } else {
    fields.gasPrice = price;
  }
  if (type > 0) fields.accessList = accessList();
  const meaning = { kind: 'native-transfer', transfers: [], approvals: [], max_fee: String(price * gasLimit) };
  const call = random.below(5);
  if (call < 3) {
    const known = random.below(2) === 0;
    if (known) fields.to = KNOWN[chainId];
    const asset = `${network}/erc20:${fields.to}`;
    const [one, two, amount] = [getAddress(address()), getAddress(address()), random.number(256)];
    if (call === 0) {
      fields.data = erc20.encodeFunctionData('transfer', [one, amount]);
      meaning.kind = 'token-transfer';
      meaning.transfers.push({ asset, to: one, amount: String(amount), known });
    } else if (call === 1) {
      fields.data = erc20.encodeFunctionData('transferFrom', [one, two, amount]);
      meaning.kind = 'token-transfer-from';
      meaning.transfers.push({ asset, from: one, to: two, amount: String(amount), known });
    } else {
      fields.data = erc20.encodeFunctionData('approve', [one, amount]);
      meaning.kind = 'token-approve';
      meaning.approvals.push({ asset, spender: one, amount: String(amount), known });
    }
  } else {
    fields.value = random.number(200);
    if (call === 4) {
      fields.data = '0xee' + random.bytes(random.below(200));
      meaning.kind = 'contract-call';
    }
    if (call === 3 || fields.value > 0n) {
      const transfer = { asset: coin, to: getAddress(fields.to), amount: String(fields.value), known: true };
      meaning.transfers.push(transfer);
    }
  }
  return { network, fields, meaning };
}

function makeEvm() {
  const { network, fields, meaning } = evm();
  const transaction = Transaction.from(fields);
  write('ethers', network, transaction.unsignedSerialized, { digest: transaction.unsignedHash, ...meaning });
}

/** What ethers makes and nobody should sign. */
function makeRefused() {
  const { network, fields } = evm();
  const refused = [
    () => {
      const signed = Transaction.from(fields);
      signed.signature = wallet.signingKey.sign(signed.unsignedHash);
      return signed.serialized;
    },
    () => Transaction.from({ ...fields, type: 0, accessList: null, gasPrice: 1n, maxFeePerGas: null, maxPriorityFeePerGas: null, chainId: 0 }).unsignedSerialized,
    () => Transaction.from({ ...fields, to: null }).unsignedSerialized,
    () => Transaction.from({ ...fields, chainId: fields.chainId + 1 }).unsignedSerialized,
    () => Transaction.from({ ...fields, data: erc20.encodeFunctionData('transfer', [address(), 1n]) + '00', value: 0n }).unsignedSerialized,
    () => Transaction.from({ ...fields, data: erc20.encodeFunctionData('transfer', [address(), 1n]), value: 1n }).unsignedSerialized,
    () => {
      const { gasPrice, ...rest } = fields;
      const authorizationList = [{ address: address(), nonce: 1n, chainId: 1n, signature: Signature.from(wallet.signingKey.sign('0x' + random.bytes(32))) }];
      return Transaction.from({ ...rest, type: 4, maxFeePerGas: 2n, maxPriorityFeePerGas: 1n, authorizationList }).unsignedSerialized;
    },
    () => {
      const { gasPrice, ...rest } = fields;
      const blobVersionedHashes = ['0x01' + random.bytes(31)];
      return Transaction.from({ ...rest, type: 3, maxFeePerGas: 2n, maxPriorityFeePerGas: 1n, maxFeePerBlobGas: 1n, blobVersionedHashes }).unsignedSerialized;
    },
  ];
  const make = refused[random.below(refused.length)];
  write('ethers', network, make(), { refused: true });
}

const TRON = 'tron:0x2b6653dc';
const USDT = 'TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t';
const tronWeb = new TronWeb({ fullHost: 'http://127.0.0.1:9' });
const tronAddress = () => TronWeb.address.fromHex('41' + random.bytes(20));

async function makeTron() {
  const timestamp = 1_600_000_000_000 + random.below(2 ** 31);
  const blockHeader = {
    ref_block_bytes: random.bytes(2),
    ref_block_hash: random.bytes(8),
    timestamp,
    expiration: timestamp + 1 + random.below(86_400_000),
  };
  const owner = tronAddress();
  const permissionId = random.below(4) === 0 ? 2 + random.below(6) : undefined;
  const meaning = { kind: 'native-transfer', from: owner, transfers: [], approvals: [] };
  let transaction;
  const call = random.below(3);
  if (call === 0) {
    const [to, amount] = [tronAddress(), Number(random.number(52)) + 1];
    transaction = await tronWeb.transactionBuilder.sendTrx(to, amount, owner, { blockHeader, permissionId });
    meaning.transfers.push({ asset: `${TRON}/slip44:195`, to, amount: String(amount), known: true });
  } else {
    const known = random.below(2) === 0;
    const contract = known ? USDT : tronAddress();
    const [account, amount] = [tronAddress(), String(random.number(256))];
    const method = call === 1 ? 'transfer(address,uint256)' : 'approve(address,uint256)';
    const parameters = [{ type: 'address', value: account }, { type: 'uint256', value: amount }];
    const options = { txLocal: true, feeLimit: 1 + random.below(2 ** 31), blockHeader, permissionId };
    const made = await tronWeb.transactionBuilder.triggerSmartContract(contract, method, options, parameters, owner);
    transaction = made.transaction;
    const asset = `${TRON}/trc20:${contract}`;
    meaning.kind = call === 1 ? 'token-transfer' : 'token-approve';
    if (call === 1) meaning.transfers.push({ asset, to: account, amount, known });
    else meaning.approvals.push({ asset, spender: account, amount, known });
  }
  if (random.below(4) === 0) {
    const memo = random.bytes(1 + random.below(30));
    transaction = await tronWeb.transactionBuilder.addUpdateData(transaction, memo, 'hex', { txLocal: true });
    meaning.memo = '0x' + memo;
  }
  if (permissionId) meaning.permission_id = permissionId;
  write('tronweb', TRON, transaction.raw_data_hex, { digest: '0x' + transaction.txID, ...meaning });
}

for (let at = 0; at < Number(count); at += 1) {
  if (at % 10 === 0) makeRefused();
  else if (at % 10 < 4) await makeTron();
  else makeEvm();
}
for (const [name, { hex, expected }] of files) {
  appendFileSync(join(directory, `${name}.hex`), hex.join('\n') + '\n');
  appendFileSync(join(directory, `${name}.expected`), expected.join('\n') + '\n');
}
