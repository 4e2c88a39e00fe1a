/** Quantizes matrices on the device that a task computes on: one program for each size of matrix and block. */
import type { Executable } from '../../compile/program.ts';
import type { PackedBits, Quantized } from '../../model/nf4.ts';
import { codeThresholds, normalFloatCodebook } from '../../model/nf4_codebooks.ts';
import { quantizationStep } from '../../model/steps.ts';
import { type Host, loadStep } from '../shared/executables.ts';

export class Quantizer {
  readonly #host: Host;
  readonly #programs = new Map<string, Executable>();

  constructor(host: Host) {
    this.#host = host;
  }

  /** As `quantize` in model/nf4.ts, to the bit. Weights are finite, and blocks fill them evenly. */
  async quantize(weights: Float32Array, block: number, bits: PackedBits): Promise<Quantized> {
    const codebook = new Float32Array(16);
    const entries = normalFloatCodebook(bits);
    codebook.set(entries);
    const program = await this.#programFor(weights.length, block);
    program.write('w', weights);
    program.write('thresholds', codeThresholds(entries));
    program.run();
    const [codes, absmax] = [program.read('codes') as Uint8Array, program.read('absmax') as Float32Array];
    return { codes, absmax, codebook, block };
  }

  dispose(): void {
    for (const program of this.#programs.values()) program.dispose();
    this.#programs.clear();
  }

  async #programFor(n: number, block: number): Promise<Executable> {
    const name = `quantize ${n} by ${block}`;
    let program = this.#programs.get(name);
    if (program === undefined) {
      program = await loadStep(name, quantizationStep({ n, block }), this.#host);
      this.#programs.set(name, program);
    }
    return program;
  }
}
