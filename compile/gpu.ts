/** The GPU that programs of this process run on: its name, and its memory as the driver sees it. */
import { loadAddon } from '../native/addon.ts';

export interface Gpu {
  readonly name: string;
  /** Bytes of its memory that are in use, by this process (the context, and what the driver loads for it, included) and by others. */
  usedBytes(): number;
}

/** @returns why there is none to be used, if there is none. */
export function openGpu(): Gpu | { readonly unavailable: string } {
  const addon = loadAddon();
  if ('unavailable' in addon) return addon;
  const device = addon.devices().find(({ kind }) => kind === 'cuda');
  if (device === undefined) return { unavailable: addon.cudaUnavailable() ?? 'the driver shows none' };
  return {
    name: device.name,
    usedBytes() {
      const { free, total } = addon.cudaMemory();
      return total - free;
    },
  };
}
