import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { byteLength, rootOf } from '../compile/buffers.ts';
import { maxLiveBytes, planMemory } from '../compile/plan.ts';
import { printProgram } from '../compile/print.ts';
import type { Buffer, Call, Plan, Program } from '../compile/program.ts';

const buffer = (name: string, bytes: number, rest: Partial<Buffer> = {}): Buffer => ({
  name,
  shape: [bytes],
  storage: 'uint8',
  role: 'temporary',
  group: 'activations',
  ...rest,
});

const call = (inputs: number[], output: number, scratch?: number): Call => ({
  kernel: 'Any',
  inputs,
  outputs: [output],
  attributes: {},
  ...(scratch === undefined ? {} : { scratch }),
});

/** Programs in which every call reads some buffers written before and writes a new one, with views and scratch space. */
const programs = fc
  .array(
    fc.record({
      reads: fc.array(fc.nat(), { maxLength: 3 }),
      bytes: fc.integer({ min: 0, max: 5000 }),
      scratch: fc.option(fc.integer({ min: 1, max: 3000 }), { nil: undefined }),
      view: fc.boolean(),
      output: fc.integer({ min: 0, max: 7 }).map((n) => n === 0),
    }),
    { minLength: 1, maxLength: 60 },
  )
  .map((steps): Program => {
    const buffers: Buffer[] = [
      buffer('x', 100, { role: 'input' }),
      buffer('w', 1000, { role: 'weight', group: 'weights' }),
      buffer('m', 70, { role: 'state', group: 'optimizer' }),
    ];
    const readable = [0, 1, 2];
    const calls: Call[] = [];
    const outputs: Record<string, number> = {};
    for (const [index, step] of steps.entries()) {
      const inputs = step.reads.map((read) => readable[read % readable.length]!);
      const scratch = step.scratch === undefined ? undefined : buffers.push(buffer(`s${index}`, step.scratch)) - 1;
      const made = buffers.push(buffer(`t${index}`, step.bytes)) - 1;
      calls.push(call(inputs, made, scratch));
      readable.push(step.view ? buffers.push(buffer(`v${index}`, step.bytes, { view: made })) - 1 : made);
      if (step.output) outputs[`o${index}`] = made;
    }
    return { name: 'random', buffers, calls, outputs };
  });

/**
 * Runs a plan over an arena whose cells remember which buffer wrote them last: a buffer that is read must still own all
 * of its cells. Knows nothing of lifetimes, so it checks them too.
 */
function replayOwnership(program: Program, plan: Plan): void {
  const owners = new Int32Array(plan.arenaBytes / 64).fill(-1);
  const cells = (index: number) => {
    const from = plan.offsets[index]! / 64;
    return [from, from + Math.ceil(byteLength(program.buffers[index]!) / 64)] as const;
  };
  const write = (index: number) => owners.fill(rootOf(program, index), ...cells(index));
  const read = (index: number, when: string) => {
    const [from, to] = cells(index);
    const clobbered = owners.subarray(from, to).findIndex((owner) => owner !== rootOf(program, index));
    if (clobbered >= 0)
      throw new Error(`${when}: '${program.buffers[index]!.name}' was overwritten at cell ${clobbered}`);
  };
  program.buffers.forEach(({ role, view }, index) => {
    if (role !== 'temporary' && view === undefined) write(index);
  });
  program.calls.forEach(({ inputs, outputs, scratch }, position) => {
    // Operands must survive the scratch space and, unless shared on purpose, the output as it is being written.
    if (scratch !== undefined) write(scratch);
    for (const input of inputs) read(input, `call ${position}`);
    for (const output of outputs) write(output);
    for (const input of inputs) read(input, `call ${position}, while it writes`);
  });
  for (const output of Object.values(program.outputs)) read(output, 'after the run');
  program.buffers.forEach(({ role, view }, index) => {
    if (role !== 'temporary' && view === undefined) read(index, 'after the run');
  });
}

describe('planMemory', () => {
  test('no buffer is overwritten while it is still needed', () => {
    fc.assert(
      fc.property(programs, (program) => replayOwnership(program, planMemory(program))),
      { numRuns: 300 },
    );
  });

  test('a plan that lets two live buffers overlap is caught by the same check', () => {
    const program: Program = {
      name: 'overlap',
      buffers: [buffer('x', 64, { role: 'input' }), buffer('a', 64), buffer('b', 64), buffer('c', 64)],
      calls: [call([0], 1), call([0], 2), call([1, 2], 3)],
      outputs: { c: 3 },
    };
    const plan = planMemory(program);
    expect(() => replayOwnership(program, plan)).not.toThrow();
    const overlapping = { ...plan, offsets: plan.offsets.with(2, plan.offsets[1]!) };
    expect(() => replayOwnership(program, overlapping)).toThrow(/'a' was overwritten/);
  });

  test('groups add up, offsets are aligned and inside, and temporaries stay within half of the lower bound', () => {
    fc.assert(
      fc.property(programs, (program) => {
        const plan = planMemory(program);
        const { weights, adapters, optimizer, activations } = plan.groups;
        expect(weights + adapters + optimizer + activations).toBe(plan.arenaBytes);
        expect([weights, adapters, optimizer]).toEqual([1024, 0, 128]);
        program.buffers.forEach((each, index) => {
          expect(plan.offsets[index]! % 64).toBe(0);
          expect(plan.offsets[index]! + byteLength(each)).toBeLessThanOrEqual(plan.arenaBytes);
        });
        const temporaries = activations - 128;
        expect(temporaries).toBeGreaterThanOrEqual(maxLiveBytes(program));
        expect(temporaries).toBeLessThanOrEqual(1.5 * maxLiveBytes(program));
      }),
      { numRuns: 300 },
    );
  });

  test('the lower bound counts what is alive during one call', () => {
    // x -> a -> b -> c: a and b overlap during the second call, b and c during the third.
    const program: Program = {
      name: 'chain',
      buffers: [buffer('x', 64, { role: 'input' }), buffer('a', 640), buffer('b', 128), buffer('c', 64)],
      calls: [call([0], 1), call([1], 2), call([2], 3)],
      outputs: { c: 3 },
    };
    expect(maxLiveBytes(program)).toBe(768);
    expect(planMemory(program)).toMatchObject({ arenaBytes: 832, groups: { activations: 832 } });
  });

  test('storage decides the bytes', () => {
    const sized = (storage: Buffer['storage']): Program => ({
      name: storage,
      buffers: [{ name: 'w', shape: [64, 3], storage, role: 'weight', group: 'weights' }],
      calls: [],
      outputs: {},
    });
    const bytes = (storage: Buffer['storage']) => planMemory(sized(storage)).arenaBytes;
    expect([bytes('float32'), bytes('bf16'), bytes('int32'), bytes('uint8')]).toEqual([768, 384, 768, 192]);
  });
});

test('printProgram lists buffers with their place, calls with operands, attributes and scratch, and outputs', () => {
  const program: Program = {
    name: 'demo',
    buffers: [
      buffer('x', 6, { role: 'input' }),
      buffer('x.view', 6, { role: 'input', shape: [2, 3], view: 0 }),
      buffer('y', 6),
      buffer('scratch', 100),
    ],
    calls: [{ ...call([1], 2, 3), kernel: 'LayerNorm', attributes: { epsilon: 1e-5, axes: [0, 1] } }],
    outputs: { y: 2 },
  };
  expect(printProgram(program, planMemory(program)).split('\n')).toEqual([
    'program demo: 1 calls, 4 buffers',
    'arena 256 bytes: weights 0, adapters 0, optimizer 0, activations 256',
    '  input     x        uint8[6]  @0 +6',
    '  temporary %2       uint8[6]  @192 +6',
    '  temporary %3       uint8[100]  @64 +100',
    '      0  %2 = LayerNorm(x:[2,3], epsilon=0.00001, axes=[0,1]) scratch %3',
    '  output y = %2',
  ]);
});
