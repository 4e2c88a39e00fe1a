/** What memory a device has left, asked before a program is loaded whose plan says what it will take. */
import { freemem, totalmem } from 'node:os';
import { loadAddon } from '../native/addon.ts';

/** In bytes. */
export interface Memory {
  readonly free: number;
  readonly total: number;
}

/** What a program needs memory for: its arena, or what it pages to the host. */
export type Need = 'arena' | 'paged';

/** A program that a device has no room for, or the host for what is paged to it. Nothing has been allocated. */
export class OutOfMemory extends Error {
  override readonly name = 'OutOfMemory';
  readonly need: Need;
  /** Bytes of it, as planned. */
  readonly needed: number;
  readonly memory: Memory;

  constructor(program: string, need: Need, needed: number, memory: Memory) {
    const needs = need === 'arena' ? 'needs' : 'pages to the host';
    super(`program '${program}' ${needs} ${needed} bytes (planned), and ${memory.free} of ${memory.total} are free`);
    this.need = need;
    this.needed = needed;
    this.memory = memory;
  }
}

/**
 * On a GPU what the driver says. On the CPU what the machine can give this process without swapping, and within the limit of a
 * container, if there is one. Only Linux tells what it could free by dropping copies of files; elsewhere all of the machine's
 * memory but this process's counts as free, so that nothing is refused that would fit.
 * @returns undefined where there is no such device.
 */
export function availableMemory(device: 'cpu' | 'cuda'): Memory | undefined {
  if (device === 'cuda') {
    const addon = loadAddon();
    return 'unavailable' in addon || addon.cudaUnavailable() !== undefined ? undefined : addon.cudaMemory();
  }
  const limit = process.constrainedMemory();
  // Without a limit it is 0, or a number beyond any machine.
  const total = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  const unused = total - process.memoryUsage.rss();
  return { free: Math.max(0, process.platform === 'linux' ? Math.min(unused, freemem()) : unused), total };
}

/** @throws OutOfMemory when fewer bytes are free than a program needs. */
export function refuseIfTooLarge(program: string, needed: number, device: 'cpu' | 'cuda', need: Need = 'arena'): void {
  const memory = availableMemory(device);
  if (memory !== undefined && needed > memory.free) throw new OutOfMemory(program, need, needed, memory);
}
