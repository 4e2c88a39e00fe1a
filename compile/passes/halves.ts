/** Pass: stores activations in bf16, for a device whose kernels take them so: half the memory, and half the bytes to move. */
import { rootOf, usesOf } from '../buffers.ts';
import { withoutNested } from '../nested.ts';
import type { Call, Program } from '../program.ts';

/** Positions of the operands and outputs that the GPU's kernels take in bf16 as well as in float32. */
export const takesHalves: Readonly<Record<string, { inputs: readonly number[]; outputs: readonly number[] }>> = {
  Linear: { inputs: [0, 3], outputs: [0] },
  LinearBackwardInput: { inputs: [0, 2], outputs: [0] },
  LinearBackwardWeight: { inputs: [0, 1], outputs: [] },
  Nf4MatMul: { inputs: [0, 5], outputs: [0] },
  Nf4MatMulBackwardInput: { inputs: [0, 4], outputs: [0] },
  LoraHidden: { inputs: [0], outputs: [0] },
  LoraUpdate: { inputs: [0, 1], outputs: [0] },
  LoraBackwardHidden: { inputs: [0], outputs: [0] },
  LoraBackwardB: { inputs: [0, 1], outputs: [] },
  LoraBackwardA: { inputs: [0, 1], outputs: [] },
  LoraBackwardInput: { inputs: [0], outputs: [0] },
  LayerNorm: { inputs: [0], outputs: [0] },
  LayerNormBackwardInput: { inputs: [0, 1, 3], outputs: [0] },
  Gelu: { inputs: [0], outputs: [0] },
  GeluBackward: { inputs: [0, 1], outputs: [0] },
  CausalAttention: { inputs: [0], outputs: [0] },
  CausalAttentionWithLse: { inputs: [0], outputs: [0] },
  CausalAttentionBackward: { inputs: [0, 1], outputs: [0] },
  CausalAttentionBackwardFromLse: { inputs: [0, 1, 2], outputs: [0] },
  Embedding: { inputs: [], outputs: [0] },
  CrossEntropy: { inputs: [0], outputs: [] },
  CrossEntropyBackwardHidden: { inputs: [1], outputs: [0] },
  CrossEntropyWithGradient: { inputs: [1], outputs: [1] },
  TokenLogProb: { inputs: [0], outputs: [] },
  Dropout: { inputs: [0], outputs: [0] },
  Add: { inputs: [0, 1], outputs: [0] },
};

/** What reads a sum on its way through the layers: layer norms, and further sums. */
const sumReaders: ReadonlySet<string> = new Set(['LayerNorm:0', 'Linear:3', 'Nf4MatMul:5', 'Add:0', 'Add:1']);

/**
 * A temporary is stored in bf16 if every call that touches it takes it so, and no output of the program is made of it. Sums
 * that are only passed on to layer norms and further sums, as in a forward pass, stay float32: there rounding would
 * accumulate. Where a gradient reads them too they are kept for long, and are bf16. What a LoRA update works on in place is
 * stored as its result is.
 */
export function storeInHalves(program: Program): Program {
  const uses = usesOf(program);
  const groups = program.buffers.map((_, index) => rootOf(program, index));
  /** The last result of the updates of a buffer's memory. */
  const groupOf = (buffer: number): number => {
    const root = rootOf(program, buffer);
    return groups[root] === root ? root : groupOf(groups[root]!);
  };
  for (const { kernel, inputs, outputs } of program.calls) {
    if (kernel === 'LoraUpdate') groups[rootOf(program, inputs[0]!)] = rootOf(program, outputs[0]!);
  }
  const refused = new Set<number>();
  const readers = new Map<number, string[]>();
  program.buffers.forEach(({ role, storage }, index) => {
    const isOutput = uses[index]!.reads.includes(program.calls.length);
    if (role !== 'temporary' || isOutput || !['float32', 'bf16'].includes(storage)) refused.add(groupOf(index));
  });
  for (const call of program.calls) {
    visit(call, (buffer, reader, takes) => {
      const group = groupOf(buffer);
      if (!takes) refused.add(group);
      if (reader !== undefined && reader !== 'LoraUpdate:0')
        readers.set(group, [...(readers.get(group) ?? []), reader]);
    });
  }
  const inHalves = (group: number) =>
    !refused.has(group) && !(readers.get(group) ?? []).every((reader) => sumReaders.has(reader));
  return {
    ...program,
    buffers: program.buffers.map((buffer, index) =>
      inHalves(groupOf(index)) ? { ...buffer, storage: 'bf16' } : buffer,
    ),
  };
}

/** Tells of each buffer that a call touches: for an operand `KERNEL:POSITION`, and whether the kernel takes bf16 there. */
function visit(call: Call, each: (buffer: number, reader: string | undefined, takes: boolean) => void): void {
  const takes = Object.hasOwn(takesHalves, call.kernel) ? takesHalves[call.kernel] : undefined;
  const own = withoutNested(call.kernel, call.inputs, call.attributes).length;
  call.inputs.forEach((buffer, at) => {
    each(buffer, `${call.kernel}:${at}`, at < own && (takes?.inputs.includes(at) ?? false));
  });
  call.outputs.forEach((buffer, at) => {
    each(buffer, undefined, takes?.outputs.includes(at) ?? false);
  });
  if (call.scratch !== undefined) each(call.scratch, undefined, false);
}
