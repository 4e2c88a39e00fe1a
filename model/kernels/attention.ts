/** Causal multi-head self-attention (Vaswani et al. 2017, section 3.2), on fused queries, keys and values. */
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, expectShape, runKernel } from './kernel.ts';

type Heads = { heads: number };

/** [B, T, C] -> [B * heads, T, C / heads] */
function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, length, width] = x.shape as [number, number, number];
  const perHead = tf.transpose(tf.reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
  return tf.reshape(perHead, [batch * heads, length, width / heads]);
}

/** [B * heads, T, C / heads] -> [B, T, C] */
function mergeHeads(x: Tensor, heads: number): Tensor {
  const [rows, length, width] = x.shape as [number, number, number];
  const perHead = tf.transpose(tf.reshape(x, [rows / heads, heads, length, width]), [0, 2, 1, 3]);
  return tf.reshape(perHead, [rows / heads, length, heads * width]);
}

/** qkv [B, T, 3C] -> queries, keys, values [B * heads, T, C / heads] and the attention each query pays to each key [B * heads, T, T]. */
function attend(qkv: Tensor, heads: number): { q: Tensor; k: Tensor; v: Tensor; attention: Tensor; scale: number } {
  const [q, k, v] = tf.split(qkv, 3, 2).map((part) => splitHeads(part, heads)) as [Tensor, Tensor, Tensor];
  const [, length, width] = q.shape as [number, number, number];
  const scale = 1 / Math.sqrt(width);
  const scores = tf.mul(tf.matMul(q, k, false, true), scale);
  return { q, k, v, attention: tf.softmax(tf.add(scores, causalMask(length))), scale };
}

/** [T, T]: 0 where the key is not after the query, -1e30 where it is, so that the softmax gives it exactly 0. */
function causalMask(length: number): Tensor {
  const mask = new Float32Array(length * length);
  for (let query = 0; query < length; query++) mask.fill(-1e30, query * length + query + 1, (query + 1) * length);
  return tf.tensor(mask, [length, length]);
}

export const causalAttentionKernel = defineKernel<Heads>()({
  name: 'CausalAttention',
  operands: ['qkv'],
  shape({ qkv }, { heads }) {
    const [batch, length, width] = qkv as [number, number, number];
    if (qkv.length !== 3 || width % (3 * heads) !== 0) {
      throw new Error(
        `CausalAttention: qkv has shape [${qkv.join(', ')}], expected [batch, time, 3 * ${heads} heads * head size]`,
      );
    }
    return [batch, length, width / 3];
  },
  composite({ qkv }, { heads }) {
    const { v, attention } = attend(qkv, heads);
    return mergeHeads(tf.matMul(attention, v), heads);
  },
  gradient: {
    saves: ['qkv'],
    of: (dy, { qkv }, { heads }) => ({
      qkv: () => runKernel(causalAttentionBackwardKernel, { dy, qkv }, { heads }),
    }),
  },
});

export const causalAttentionBackwardKernel = defineKernel<Heads>()({
  name: 'CausalAttentionBackward',
  operands: ['dy', 'qkv'],
  shape({ dy, qkv }) {
    expectShape('CausalAttentionBackward', 'dy', dy, [qkv[0]!, qkv[1]!, qkv[2]! / 3]);
    return [...qkv];
  },
  // The attention is computed again: to keep it would take heads * T² floats a sequence and layer.
  composite({ dy, qkv }, { heads }) {
    const { q, k, v, attention, scale } = attend(qkv, heads);
    const dOutput = splitHeads(dy, heads);
    const dAttention = tf.matMul(dOutput, v, false, true);
    const weighted = tf.sum(tf.mul(attention, dAttention), 2, true);
    const dScores = tf.mul(tf.mul(attention, tf.sub(dAttention, weighted)), scale);
    const dq = tf.matMul(dScores, k);
    const dk = tf.matMul(dScores, q, true, false);
    const dv = tf.matMul(attention, dOutput, true, false);
    return tf.concat(
      [dq, dk, dv].map((gradient) => mergeHeads(gradient, heads)),
      2,
    );
  },
});

/**
 * Self-attention in which a position sees itself and those before it; scores are scaled by 1 / sqrt(head size).
 * @param qkv [B, T, 3C]: queries, keys and values side by side, each `heads` heads wide.
 * @returns [B, T, C]
 */
export function causalAttention(qkv: Tensor, heads: number): Tensor {
  return runKernel(causalAttentionKernel, { qkv }, { heads });
}
