/** What the host may write and read of a program, by name: the same rules for every executable. */
import { elementCount } from './buffers.ts';
import type { Buffer, Program, Storage } from './program.ts';

/** The content of a buffer on the host: Float32Array for float32 and bf16, Int32Array for int32, Uint8Array for uint8. */
export type HostData = Float32Array | Int32Array | Uint8Array;

/** Resolves the names of one program's buffers and outputs. */
export class HostAccess {
  readonly #program: Program;
  readonly #named = new Map<string, number>();

  constructor(program: Program) {
    this.#program = program;
    program.buffers.forEach(({ name, role, view }, index) => {
      if (view === undefined && (role === 'input' || role === 'weight' || role === 'state'))
        this.#named.set(name, index);
    });
  }

  /**
   * @returns the buffer that the host may write under this name.
   * @throws Error if there is none, or if `data` is not of its type and size.
   */
  writable(name: string, data: HostData): number {
    const index = this.#named.get(name);
    if (index === undefined) this.#fail(`has no input, weight or state '${name}' to write`);
    const buffer = this.#program.buffers[index]!;
    const wanted = arrayOf(buffer.storage);
    if (!(data instanceof wanted)) {
      this.#fail(
        `stores '${name}' as ${buffer.storage}: write it from a ${wanted.name}, not a ${data.constructor.name}`,
      );
    }
    if (data.length !== elementCount(buffer.shape)) {
      this.#fail(`needs ${elementCount(buffer.shape)} values for ${textOf(buffer)}, and ${data.length} were given`);
    }
    return index;
  }

  /** @returns the buffer that the host may read under this name: an output first. @throws Error if there is none. */
  readable(name: string): number {
    const output = Object.hasOwn(this.#program.outputs, name) ? this.#program.outputs[name] : undefined;
    const index = output ?? this.#named.get(name);
    if (index === undefined) {
      this.#fail(
        `has no output, input, weight or state '${name}' to read; its outputs are ${Object.keys(this.#program.outputs).join(', ')}`,
      );
    }
    return index;
  }

  #fail(what: string): never {
    throw new Error(`program '${this.#program.name}' ${what}`);
  }
}

/** @returns the array type in which the host sees a storage type. */
export function arrayOf(storage: Storage): typeof Float32Array | typeof Int32Array | typeof Uint8Array {
  switch (storage) {
    case 'float32':
    case 'bf16':
      return Float32Array;
    case 'int32':
      return Int32Array;
    case 'uint8':
      return Uint8Array;
  }
}

function textOf({ name, shape }: Buffer): string {
  return `'${name}' [${shape.join(', ')}]`;
}
