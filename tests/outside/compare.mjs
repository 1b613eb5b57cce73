// Compares what `countersign inspect --json` answered with what the libraries meant: `node compare.mjs DIRECTORY`.
// Reads every NAME.expected and NAME.answers; prints failures, then "PASSED FAILED".

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

const directory = process.argv[2];
const lines = (name) => readFileSync(join(directory, name), 'utf8').trimEnd().split('\n');
let [passed, failed] = [0, 0];

/** Why `answer` is not what was meant, or null. */
function difference(expected, answer) {
  if (expected.refused) return answer.ok === false && answer.error ? null : 'accepted, but should be refused';
  if (!answer.ok) return `refused: ${answer.error}`;
  for (const field of ['network', 'digest', 'kind', 'from', 'transfers', 'max_fee', 'memo', 'permission_id']) {
    if (field === 'max_fee' && expected.max_fee === undefined) continue;
    if (!isDeepStrictEqual(answer[field], expected[field])) {
      return `${field}: expected ${JSON.stringify(expected[field])}, got ${JSON.stringify(answer[field])}`;
    }
  }
  if (!isDeepStrictEqual(answer.approvals ?? [], expected.approvals)) return 'approvals differ';
  return null;
}

for (const file of readdirSync(directory).filter((name) => name.endsWith('.expected')).sort()) {
  const expected = lines(file).map((line) => JSON.parse(line));
  const answers = lines(file.replace('.expected', '.answers')).map((line) => JSON.parse(line));
  if (answers.length !== expected.length) {
    console.error(`${file}: ${answers.length} answers to ${expected.length} transactions`);
    failed += 1;
  }
  expected.forEach((one, at) => {
    const why = difference(one, answers[at] ?? {});
    if (why === null) passed += 1;
    else {
      failed += 1;
      if (failed <= 20) console.error(`${file}:${at + 1}: ${why}`);
    }
  });
}
console.log(`${passed} ${failed}`);
