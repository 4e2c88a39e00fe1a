/** A small seeded random generator: xoshiro128** (Blackman and Vigna, 2018), its state filled by SplitMix64. */

/** A deterministic stream of pseudo-random numbers; the same seed and stream name give the same stream on every machine. */
export class Random {
  private readonly state: Uint32Array;
  private spareNormal: number | undefined;

  /**
   * @param seed any safe integer.
   * @param stream a name that makes independent streams of one seed ('shuffle', 'dropout', 'epoch 3').
   */
  constructor(seed: number, stream = '') {
    if (!Number.isSafeInteger(seed)) throw new RangeError(`a seed is an integer, not ${seed}`);
    this.state = seedState(seed, stream);
  }

  /** The next 32 random bits, as an integer in [0, 2^32). */
  uint32(): number {
    const s = this.state;
    const result = Math.imul(rotateLeft(Math.imul(s[1]!, 5), 7), 9) >>> 0;
    const t = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = rotateLeft(s[3]!, 11);
    return result;
  }

  /** A number in [0, 1), a multiple of 2^-53. */
  uniform(): number {
    const high = this.uint32() >>> 5;
    const low = this.uint32() >>> 6;
    return (high * 2 ** 26 + low) * 2 ** -53;
  }

  /** An integer in [0, bound), each equally likely; bound is at most 2^32. */
  integer(bound: number): number {
    if (!Number.isInteger(bound) || bound < 1 || bound > 2 ** 32) throw new RangeError(`no integers below ${bound}`);
    // Rejecting the last, incomplete run of `bound` values keeps every remainder equally likely.
    const limit = 2 ** 32 - (2 ** 32 % bound);
    let bits = this.uint32();
    while (bits >= limit) bits = this.uint32();
    return bits % bound;
  }

  /** A standard normal number (Box and Muller, 1958). */
  normal(): number {
    if (this.spareNormal !== undefined) {
      const spare = this.spareNormal;
      this.spareNormal = undefined;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spareNormal = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** One of the items, each equally likely. */
  pick<T>(items: readonly T[]): T {
    return items[this.integer(items.length)]!;
  }

  /** Shuffles in place (Fisher and Yates) and returns the same array. */
  shuffle<A extends unknown[] | Int32Array | Uint32Array>(items: A): A {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const held = items[i];
      items[i] = items[j] as never;
      items[j] = held as never;
    }
    return items;
  }

  /** `count` different items in random order. */
  sample<T>(items: readonly T[], count: number): T[] {
    return this.shuffle([...items]).slice(0, count);
  }
}

/** The integers 0 to count - 1 in random order. */
export function permutation(count: number, random: Random): Int32Array {
  return random.shuffle(Int32Array.from({ length: count }, (_, i) => i));
}

function rotateLeft(x: number, bits: number): number {
  return (x << bits) | (x >>> (32 - bits));
}

const mask64 = (1n << 64n) - 1n;

/** Four words from SplitMix64 started at the seed, mixed with the FNV-1a hash of the stream's name. */
function seedState(seed: number, stream: string): Uint32Array {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(stream)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & mask64;
  let x = (BigInt(seed) ^ (stream === '' ? 0n : hash)) & mask64;
  const next = (): bigint => {
    x = (x + 0x9e3779b97f4a7c15n) & mask64;
    let z = x;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask64;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask64;
    return z ^ (z >> 31n);
  };
  const [a, b] = [next(), next()];
  return new Uint32Array([a, a >> 32n, b, b >> 32n].map((word) => Number(word & 0xffffffffn)));
}
