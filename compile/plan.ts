/** The memory plan: where each buffer of a program lies in one arena, so that its peak is known before anything runs. */
import { alignedBytes, byteLength, rootOf, usesOf } from './buffers.ts';
import { statesToPage } from './paging.ts';
import type { Buffer, Plan, Program } from './program.ts';

/** A block of temporary memory: its size, and the first and last call during which its content matters. */
interface Block {
  readonly buffer: number;
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

/**
 * Lays a program out. Weights, states, inputs and constants keep their place throughout; temporaries share one region,
 * each holding its place from the call that first writes it to the last that reads it. The region is packed greedily,
 * each block into the tightest gap that its lifetime leaves, in several orders of which the lowest wins
 * (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, section 5).
 * @param budget bytes that the arena may take: optimizer states beyond it are paged, as many as that needs. The arena is
 * larger than the budget where even all of them are not enough; with a budget of 0 all are paged.
 * @returns offsets in bytes, multiples of 64; a view's offset is that of the buffer it views.
 */
export function planMemory(program: Program, budget = Number.POSITIVE_INFINITY): Plan {
  const offsets = new Array<number>(program.buffers.length).fill(0);
  const groups: Record<Buffer['group'], number> = { weights: 0, adapters: 0, optimizer: 0, activations: 0 };
  const packed = pack(blocksOf(program));
  const lasting = program.buffers.flatMap(({ role, view }, index) =>
    role === 'temporary' || view !== undefined ? [] : [index],
  );
  const bytesOf = (index: number) => alignedBytes(byteLength(program.buffers[index]!));
  const whole = lasting.reduce((sum, index) => sum + bytesOf(index), packed.height);
  const paged = statesToPage(program, whole - budget);
  let top = 0;
  let pagedBytes = 0;
  for (const index of lasting) {
    const bytes = bytesOf(index);
    if (paged.has(index)) {
      offsets[index] = pagedBytes;
      pagedBytes += bytes;
      continue;
    }
    const { role, group } = program.buffers[index]!;
    offsets[index] = top;
    groups[role === 'input' ? 'activations' : group] += bytes;
    top += bytes;
  }
  for (const [buffer, offset] of packed.offsets) offsets[buffer] = top + offset;
  groups.activations += packed.height;
  program.buffers.forEach((_, index) => {
    offsets[index] = offsets[rootOf(program, index)]!;
  });
  const buffers = program.buffers.flatMap((_, index) => (paged.has(rootOf(program, index)) ? [index] : []));
  return { arenaBytes: top + packed.height, offsets, paged: { bytes: pagedBytes, buffers }, groups };
}

/**
 * The least that any plan could need for temporaries: the most bytes whose content matters during one call.
 * @returns bytes, each buffer rounded up to the alignment.
 */
export function maxLiveBytes(program: Program): number {
  const change = new Array<number>(program.calls.length + 2).fill(0);
  for (const { bytes, first, last } of blocksOf(program)) {
    change[first]! += bytes;
    change[last + 1]! -= bytes;
  }
  let live = 0;
  let peak = 0;
  for (const bytes of change) {
    live += bytes;
    peak = Math.max(peak, live);
  }
  return peak;
}

function blocksOf(program: Program): Block[] {
  const uses = usesOf(program);
  return program.buffers.flatMap((buffer, index): Block[] => {
    if (buffer.role !== 'temporary' || buffer.view !== undefined) return [];
    const { reads, writes } = uses[index]!;
    const positions = [...reads, ...writes];
    if (positions.length === 0) return [];
    const first = Math.min(...positions);
    const last = Math.max(...positions);
    return [{ buffer: index, bytes: alignedBytes(byteLength(buffer)), first, last }];
  });
}

interface Packing {
  readonly height: number;
  readonly offsets: ReadonlyMap<number, number>;
}

/** The orders tried: large blocks first; long-lived first; as they come (which suits the stack of a backward pass). */
const ORDERS: readonly ((a: Block, b: Block) => number)[] = [
  (a, b) => b.bytes - a.bytes || a.first - b.first || a.buffer - b.buffer,
  (a, b) => b.last - b.first - (a.last - a.first) || b.bytes - a.bytes || a.buffer - b.buffer,
  (a, b) => a.first - b.first || b.last - a.last || a.buffer - b.buffer,
];

function pack(blocks: readonly Block[]): Packing {
  const packings = ORDERS.map((order) => packInOrder(blocks.toSorted(order)));
  return packings.reduce((best, packing) => (packing.height < best.height ? packing : best));
}

function packInOrder(blocks: readonly Block[]): Packing {
  /** Placed blocks by offset. */
  const placed: { block: Block; offset: number }[] = [];
  const offsets = new Map<number, number>();
  let height = 0;
  for (const block of blocks) {
    const offset = tightestGap(block, placed);
    let at = placed.length;
    while (at > 0 && placed[at - 1]!.offset > offset) at--;
    placed.splice(at, 0, { block, offset });
    offsets.set(block.buffer, offset);
    height = Math.max(height, offset + block.bytes);
  }
  return { height, offsets };
}

/** @returns the offset of the smallest gap between blocks alive at the same time that holds `block`, or the end of the last. */
function tightestGap(block: Block, placed: readonly { block: Block; offset: number }[]): number {
  let end = 0;
  let best = -1;
  let bestSize = Number.POSITIVE_INFINITY;
  for (const other of placed) {
    if (other.block.last < block.first || other.block.first > block.last) continue;
    const size = other.offset - end;
    if (size >= block.bytes && size < bestSize) {
      best = end;
      bestSize = size;
    }
    end = Math.max(end, other.offset + other.block.bytes);
  }
  return best >= 0 ? best : end;
}
