/** Generation with kept keys and values: writing a token's own into the cache, and attending over it. */
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, expectShape, runKernel } from './kernel.ts';
import { oneHot } from './one_hot.ts';

/** Which third of qkv is written: 1 the keys, 2 the values. */
type Part = 1 | 2;

/** [B, P, 1]: 1 at each row's position, 0 elsewhere. */
function atPosition(positions: Tensor, length: number): Tensor {
  return tf.expandDims(oneHot(positions, length), 2);
}

export const cacheWriteKernel = defineKernel<{ part: Part }>()({
  name: 'CacheWrite',
  operands: ['cache', 'qkv', 'positions'],
  shape({ cache, qkv, positions }) {
    expectShape('CacheWrite', 'qkv', qkv, [cache[0]!, 1, 3 * cache[2]!]);
    expectShape('CacheWrite', 'positions', positions, [cache[0]!]);
    return [...cache];
  },
  composite({ cache, qkv, positions }, { part }) {
    const [, length, width] = cache.shape as [number, number, number];
    const written = tf.slice(qkv, [0, 0, part * width], [-1, 1, width]);
    const here = atPosition(positions, length);
    return tf.add(tf.mul(cache, tf.sub(1, here)), tf.mul(written, here));
  },
  inPlace: 'cache',
});

export const cachedAttentionKernel = defineKernel<{ heads: number }>()({
  name: 'CachedAttention',
  operands: ['qkv', 'keys', 'values', 'positions'],
  shape({ qkv, keys, values, positions }, { heads }) {
    const [batch, , width] = keys as [number, number, number];
    expectShape('CachedAttention', 'qkv', qkv, [batch, 1, 3 * width]);
    expectShape('CachedAttention', 'values', values, keys);
    expectShape('CachedAttention', 'positions', positions, [batch]);
    if (width % heads !== 0) throw new Error(`CachedAttention: ${heads} heads do not divide a width of ${width}`);
    return [batch, 1, width];
  },
  composite({ qkv, keys, values, positions }, { heads }) {
    const [batch, length, width] = keys.shape as [number, number, number];
    const size = width / heads;
    const byHead = (x: Tensor) => tf.transpose(tf.reshape(x, [batch, -1, heads, size]), [0, 2, 1, 3]);
    const q = byHead(tf.slice(qkv, [0, 0, 0], [-1, 1, width]));
    const scores = tf.mul(tf.matMul(q, byHead(keys), false, true), 1 / Math.sqrt(size)); // [B, heads, 1, P]
    const after = tf.greater(tf.range(0, length, 1, 'int32'), tf.expandDims(positions, 1)); // [B, P]
    const mask = tf.reshape(tf.mul(tf.cast(after, 'float32'), -1e30), [batch, 1, 1, length]);
    const mixed = tf.matMul(tf.softmax(tf.add(scores, mask)), byHead(values)); // [B, heads, 1, size]
    return tf.reshape(mixed, [batch, 1, width]);
  },
});

/**
 * The cache with row positions[b] of each b replaced by the keys (part 1) or values (part 2) of qkv.
 * @param cache [B, P, C]
 * @param qkv [B, 1, 3C]
 * @param positions int32 [B], each less than P.
 */
export function cacheWrite(cache: Tensor, qkv: Tensor, positions: Tensor, part: Part): Tensor {
  return runKernel(cacheWriteKernel, { cache, qkv, positions }, { part });
}

/**
 * Attention of one token a sequence over the cached rows 0 .. positions[b], its own included.
 * @param qkv [B, 1, 3C]: only the queries are read.
 * @param keys [B, P, C]
 * @param values [B, P, C]
 * @param positions int32 [B]
 * @returns [B, 1, C]
 */
export function cachedAttention(qkv: Tensor, keys: Tensor, values: Tensor, positions: Tensor, heads: number): Tensor {
  return runKernel(cachedAttentionKernel, { qkv, keys, values, positions }, { heads });
}
