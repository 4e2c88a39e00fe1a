/** The Gaussian error linear unit in its tanh form (Hendrycks, Gimpel 2016, section 2), GPT-2's `gelu_new`. */
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, runKernel } from './kernel.ts';

const sqrtTwoOverPi = Math.sqrt(2 / Math.PI);
const cubic = 0.044715;

/** tanh(sqrt(2/pi) (x + 0.044715 x³)), of x's shape. */
function innerTanh(x: Tensor): Tensor {
  return tf.tanh(tf.mul(sqrtTwoOverPi, tf.add(x, tf.mul(cubic, tf.mul(x, tf.square(x))))));
}

export const geluKernel = defineKernel()({
  name: 'Gelu',
  operands: ['x'],
  shape: ({ x }) => [...x],
  composite: ({ x }) => tf.mul(tf.mul(0.5, x), tf.add(1, innerTanh(x))),
  gradient: {
    saves: ['x'],
    of: (dy, { x }) => ({ x: () => runKernel(geluBackwardKernel, { dy, x }, {}) }),
  },
});

export const geluBackwardKernel = defineKernel()({
  name: 'GeluBackward',
  operands: ['dy', 'x'],
  shape: ({ x }) => [...x],
  composite({ dy, x }) {
    const t = innerTanh(x);
    const dInner = tf.mul(sqrtTwoOverPi, tf.add(1, tf.mul(3 * cubic, tf.square(x))));
    const dTanh = tf.mul(tf.sub(1, tf.square(t)), dInner);
    return tf.mul(dy, tf.mul(0.5, tf.add(tf.add(1, t), tf.mul(x, dTanh))));
  },
});

/** 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))), element by element. */
export function gelu(x: Tensor): Tensor {
  return runKernel(geluKernel, { x }, {});
}
