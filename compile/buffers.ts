/** What passes, planner and executables ask about a program's buffers: sizes, the memory behind a view, who reads and writes. */
import type { Buffer, Call, Program, Storage } from './program.ts';

/** Offsets in an arena are multiples of this many bytes: one cache line, and enough for every vector load. */
export const ALIGNMENT = 64;

const BYTES: Readonly<Record<Storage, number>> = { float32: 4, bf16: 2, int32: 4, uint8: 1 };

/** @returns the number of elements of a tensor of this shape; a scalar (shape []) has one. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** @returns the bytes that a buffer's elements take, without padding. */
export function byteLength(buffer: Pick<Buffer, 'shape' | 'storage'>): number {
  return elementCount(buffer.shape) * BYTES[buffer.storage];
}

/** @returns `bytes` rounded up to the arena's alignment; never 0, so that no two buffers share an offset by being empty. */
export function alignedBytes(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / ALIGNMENT)) * ALIGNMENT;
}

/** @returns the buffer that owns the memory of `buffer`: the one it views, or itself. */
export function rootOf(program: Pick<Program, 'buffers'>, buffer: number): number {
  return program.buffers[buffer]!.view ?? buffer;
}

/** @returns whether two shapes are equal. */
export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

/** @returns every buffer that a call touches: inputs, outputs, scratch. */
export function touched(call: Call): number[] {
  return call.scratch === undefined
    ? [...call.inputs, ...call.outputs]
    : [...call.inputs, ...call.outputs, call.scratch];
}

function renumber(call: Call, to: (buffer: number) => number): Call {
  return {
    ...call,
    inputs: call.inputs.map(to),
    outputs: call.outputs.map(to),
    ...(call.scratch === undefined ? {} : { scratch: to(call.scratch) }),
  };
}

/** When a piece of memory is used: the calls that read it and those that write it, in order. Position -1 is before the run. */
export interface Uses {
  readonly reads: readonly number[];
  readonly writes: readonly number[];
}

/**
 * Who reads and writes each buffer's memory. A view's uses are those of the buffer that it views; an output of the
 * program is read at position `calls.length`; a scratch buffer is written by its call.
 * @returns one entry a buffer; the entry of a view is that of its root.
 */
export function usesOf(program: Program): readonly Uses[] {
  const own = program.buffers.map(() => ({ reads: [] as number[], writes: [] as number[] }));
  const of = (buffer: number) => own[rootOf(program, buffer)]!;
  program.calls.forEach((call, position) => {
    for (const input of call.inputs) of(input).reads.push(position);
    for (const output of call.outputs) of(output).writes.push(position);
    if (call.scratch !== undefined) of(call.scratch).writes.push(position);
  });
  for (const output of Object.values(program.outputs)) of(output).reads.push(program.calls.length);
  return program.buffers.map((_, buffer) => of(buffer));
}

/** Buffers that give their place to others. */
export interface Replacements {
  /** @returns the buffer that stands for this one in the end. */
  buffer(of: number): number;
  /** @returns the buffer that owns the memory of this one in the end: its own replacement's, or its root's replacement's. */
  root(of: number): number;
}

/** Follows replacements through chains of them, and through views whose roots are replaced. */
export function replacements(program: Pick<Program, 'buffers'>, given: ReadonlyMap<number, number>): Replacements {
  const buffer = (of: number): number => {
    const next = given.get(of);
    return next === undefined ? of : buffer(next);
  };
  const root = (of: number): number => {
    const last = buffer(of);
    const { view } = program.buffers[last]!;
    return view === undefined ? last : root(view);
  };
  return { buffer, root };
}

/**
 * Puts one buffer in the place of another, everywhere: in calls, outputs and under views, which take on the role and the
 * storage of the memory that they now share. Views that have become equal are one; what is left without a use is dropped.
 */
export function substitute(program: Program, given: ReadonlyMap<number, number>): Program {
  if (given.size === 0) return program;
  const { buffer: to, root } = replacements(program, given);
  const replaced: Program = {
    ...program,
    buffers: program.buffers.map((buffer) => {
      if (buffer.view === undefined) return buffer;
      const view = root(buffer.view);
      const { role, storage, group } = program.buffers[view]!;
      return { ...buffer, role, storage, group, view };
    }),
    calls: program.calls.map((call) => renumber(call, to)),
    outputs: mapValues(program.outputs, to),
  };
  return mergeEqualViews(compact(replaced));
}

/** Makes views of one memory under one shape one buffer; a view with its root's shape becomes the root. */
export function mergeEqualViews(program: Program): Program {
  const first = new Map<string, number>();
  program.buffers.forEach(({ view, shape }, index) => {
    if (view === undefined) first.set(`${index}:${shape.join()}`, index);
  });
  const merged = new Map<number, number>();
  program.buffers.forEach(({ view, shape }, index) => {
    if (view === undefined) return;
    const key = `${view}:${shape.join()}`;
    const equal = first.get(key);
    if (equal === undefined) first.set(key, index);
    else merged.set(index, equal);
  });
  return substitute(program, merged);
}

/**
 * Drops the temporaries and constants that nothing refers to and closes the gaps in the numbering. Inputs, weights and
 * states stay: the host writes and reads them by name.
 */
export function compact(program: Program): Program {
  const used = new Set<number>(Object.values(program.outputs));
  for (const call of program.calls) for (const buffer of touched(call)) used.add(buffer);
  for (const buffer of [...used]) used.add(rootOf(program, buffer));
  const kept = program.buffers.flatMap((buffer, index) => {
    const named = buffer.view === undefined && ['input', 'weight', 'state'].includes(buffer.role);
    return named || used.has(index) ? [index] : [];
  });
  if (kept.length === program.buffers.length) return program;
  const renumbered = new Map(kept.map((old, index) => [old, index]));
  const to = (buffer: number) => renumbered.get(buffer)!;
  return {
    ...program,
    buffers: kept.map((index) => {
      const buffer = program.buffers[index]!;
      return buffer.view === undefined ? buffer : { ...buffer, view: to(buffer.view) };
    }),
    calls: program.calls.map((call) => renumber(call, to)),
    outputs: mapValues(program.outputs, to),
  };
}

function mapValues(outputs: Program['outputs'], to: (buffer: number) => number): Program['outputs'] {
  return Object.fromEntries(Object.entries(outputs).map(([name, buffer]) => [name, to(buffer)]));
}
