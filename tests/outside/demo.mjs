// What the demonstration signed, read by ethers and tronweb: node demo.mjs result.json
// Prints "N passed, N failed" last.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { ethers } from 'ethers';
import { TronWeb, utils } from 'tronweb';

const result = JSON.parse(readFileSync(process.argv[2], 'utf8'));
let passed = 0;
let failed = 0;

function check(what, ok) {
    if (ok) {
        passed += 1;
    } else {
        failed += 1;
        console.log(`FAILED ${what}`);
    }
}

for (const wallet of result.wallets) {
    const name = `${wallet.id} on ${wallet.network}`;
    if (wallet.network.startsWith('eip155:')) {
        check(`${name}: address`, ethers.computeAddress(wallet.public_key) === wallet.address);
    } else if (wallet.network.startsWith('tron:')) {
        const evm = ethers.computeAddress(`0x${wallet.public_key}`);
        check(`${name}: address`, TronWeb.address.fromHex(`41${evm.slice(2)}`) === wallet.address);
    } else {
        check(`${name}: address`, ethers.toBeHex(ethers.decodeBase58(wallet.address), 32) === `0x${wallet.public_key}`);
    }
}

const signed = result.requests.filter((request) => request.state === 'SIGNED');
check('something was signed on every network', new Set(signed.map((request) => request.network)).size === 4);
check('five requests were refused, each with its reason',
    result.requests.filter((request) => request.state === 'BLOCKED' && request.reason && !request.signed).length === 5);
for (const request of signed) {
    const name = `${request.id} on ${request.network}`;
    if (request.network.startsWith('eip155:')) {
        const transaction = ethers.Transaction.from(request.signed);
        check(`${name}: id`, transaction.hash === request.tx_id);
        check(`${name}: signer`, transaction.from === request.from);
        check(`${name}: bytes`, transaction.unsignedSerialized === request.unsigned);
        check(`${name}: chain`, `eip155:${transaction.chainId}` === request.network);
    } else if (request.network.startsWith('tron:')) {
        const id = createHash('sha256').update(Buffer.from(request.unsigned, 'hex')).digest('hex');
        const signer = utils.crypto.ecRecover(id, request.signed.slice(-130));
        check(`${name}: id`, id === request.tx_id);
        check(`${name}: signer`, TronWeb.address.fromHex(signer) === request.from);
        check(`${name}: bytes`, request.signed.includes(request.unsigned));
    } else {
        const signature = Buffer.from(request.signed, 'hex').subarray(1, 65);
        check(`${name}: id`, ethers.encodeBase58(signature) === request.tx_id);
        check(`${name}: bytes`, request.signed.endsWith(request.unsigned));
    }
}

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
