// A deterministic source of choices, so that a failure can be repeated with its seed.

/** mulberry32 over a seed. */
export function choices(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  const below = (end) => next() % end;
  const bytes = (length) => Array.from({ length }, () => below(256).toString(16).padStart(2, '0')).join('');
  return {
    below,
    bytes,
    oneOf: (options) => options[below(options.length)],
    /** A BigInt of a random number of bits, so that short ones are common. */
    number: (bits) => {
      const length = below(bits + 1);
      return length === 0 ? 0n : BigInt('0x' + bytes(32)) >> BigInt(256 - length);
    },
  };
}
