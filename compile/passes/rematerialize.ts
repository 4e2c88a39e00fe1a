/** Pass: keeps only what goes into each block of layers, and computes the rest of a block again when its gradient needs it. */
import { compact, rootOf, type Uses, usesOf } from '../buffers.ts';
import type { Buffer, Call, Program } from '../program.ts';

/** What is kept between the forward and the backward pass: everything, or what goes into each block of layers. */
export const rematerializations = ['none', 'block'] as const;
export type Rematerialization = (typeof rematerializations)[number];

/**
 * Gradient checkpointing (Chen et al. 2016, section 4.2). The forward pass falls apart where a single temporary is all that
 * the rest of it reads: the residual stream between layers. Where attention follows such a place, a block begins. What
 * lies within a block but the last is computed a second time, right before the first gradient that reads any of it.
 */
export function rematerializeBlocks(program: Program): Program {
  const loss = program.calls.findIndex(({ kernel }) => kernel === 'CrossEntropy');
  if (loss < 0) return program;
  const uses = usesOf(program);
  const blocks = blocksOf(program, uses, loss);
  const before = new Map<number, Call[]>();
  const buffers: Buffer[] = [...program.buffers];
  /** A buffer of the forward pass -> the one that a gradient reads in its place. */
  const again = new Map<number, number>();

  for (const { begin, end } of blocks.slice(0, -1)) {
    const isMade = (buffer: number) => {
      const [write] = uses[buffer]!.writes;
      return program.buffers[buffer]!.role === 'temporary' && write !== undefined && write > begin && write < end;
    };
    const readers = program.calls.flatMap(({ inputs }, position) =>
      position > loss && inputs.some(isMade) ? position : [],
    );
    if (readers.length === 0) continue;
    const wanted = new Set(readers.flatMap((position) => program.calls[position]!.inputs.filter(isMade)));
    const calls: Call[] = [];
    const needed = new Set(Array.from(wanted, (buffer) => rootOf(program, buffer)));
    for (let position = end - 1; position > begin; position--) {
      const call = program.calls[position]!;
      if (!call.outputs.some((output) => needed.has(rootOf(program, output)))) continue;
      for (const input of call.inputs) if (isMade(input)) needed.add(rootOf(program, input));
      calls.unshift(call);
    }
    const copy = (buffer: number): number => {
      const known = again.get(buffer);
      if (known !== undefined || !isMade(buffer)) return known ?? buffer;
      const { view, name, ...rest } = buffers[buffer]!;
      const root = view === undefined ? {} : { view: copy(view) };
      const made = buffers.length;
      buffers.push({ ...rest, ...root, name: `${name}, again` });
      again.set(buffer, made);
      return made;
    };
    before.set(
      readers[0]!,
      calls.map((call) => ({ ...call, inputs: call.inputs.map(copy), outputs: call.outputs.map(copy) })),
    );
    for (const buffer of wanted) copy(buffer);
  }

  const calls = program.calls.flatMap((call, position) => [
    ...(before.get(position) ?? []),
    position > loss ? { ...call, inputs: call.inputs.map((input) => again.get(input) ?? input) } : call,
  ]);
  return compact({ ...program, buffers, calls });
}

/** The calls of a block lie between these positions; the call at `begin` makes what goes into it. */
interface Block {
  readonly begin: number;
  readonly end: number;
}

function blocksOf(program: Program, uses: readonly Uses[], loss: number): Block[] {
  const cuts = cutsOf(program, uses, loss);
  const begins = cuts.filter((cut, i) => {
    const end = (cuts[i + 1] ?? loss) + 1;
    return program.calls.slice(cut + 1, end).some(({ kernel }) => kernel === 'CausalAttention');
  });
  // What goes into the next block ends a block, and is kept: it is not one of its calls.
  return begins.map((begin, i) => ({ begin, end: begins[i + 1] ?? loss }));
}

/** Positions before the loss after which the forward pass reads one temporary of all that has been made. */
function cutsOf(program: Program, uses: readonly Uses[], loss: number): number[] {
  const open = new Array<number>(loss + 1).fill(0);
  program.buffers.forEach(({ role, view }, buffer) => {
    if (role !== 'temporary' || view !== undefined) return;
    const [first] = uses[buffer]!.writes;
    const last = Math.max(...uses[buffer]!.reads.filter((read) => read <= loss));
    if (first === undefined) return;
    for (let position = first; position < last; position++) open[position]!++;
  });
  return open.flatMap((count, position) => {
    const made = position < loss && count === 1 ? program.calls[position]!.outputs[0]! : undefined;
    // Only where this call makes that one: what is passed on.
    return made !== undefined && uses[made]!.reads.some((read) => read > position && read <= loss) ? position : [];
  });
}
