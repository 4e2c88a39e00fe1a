/** What passes, validation and executables know of a kernel, whoever defines it. */
import type { Attribute, Storage } from './program.ts';

type Shape = readonly number[];
type Attributes = Readonly<Record<string, Attribute>>;

/** A kernel as passes, validation and executables see it; operands by position. */
export interface KernelTraits {
  /** The shapes of the outputs: one, but for kernels that only passes make. @throws Error if the operands do not fit. */
  outputs(operands: readonly Shape[], attributes: Attributes): readonly Shape[];
  /** How the outputs are stored as they are traced, if not in float32. */
  readonly storage?: Storage;
  /** Position of the operand whose memory an output may take. */
  inPlace(output: number): number | undefined;
  /** Shape of the float32 scratch space that the kernel needs, if any. */
  scratch(operands: readonly Shape[], attributes: Attributes): Shape | undefined;
  /** Whether running it again costs less than keeping its result. */
  readonly recompute: boolean;
  /** The operands' names, given how many there are. */
  names(count: number): readonly string[];
}
