/** What the compiler knows of each kernel that a program may hold: the core ones of core_shapes.ts and the model's named ones. */
import type { AnyKernel } from '../model/kernels/kernel.ts';
import { kernels } from '../model/kernels/registry.ts';
import { coreKernel } from './core_shapes.ts';
import type { Attribute } from './program.ts';

type Shape = readonly number[];
type Attributes = Readonly<Record<string, Attribute>>;

/** A kernel as passes, validation and executables see it; operands by position. */
export interface KernelTraits {
  /** The output's shape. @throws Error if the operands do not fit. */
  shape(operands: readonly Shape[], attributes: Attributes): Shape;
  /** Position of the operand whose memory the output may take. */
  readonly inPlace: number | undefined;
  /** Shape of the float32 scratch space that the kernel needs, if any. */
  scratch(operands: readonly Shape[], attributes: Attributes): Shape | undefined;
  /** Whether running it again costs less than keeping its result. */
  readonly recompute: boolean;
  /** The operands' names, given how many there are. */
  names(count: number): readonly string[];
}

const named: ReadonlyMap<string, AnyKernel> = new Map(kernels.map((kernel) => [kernel.name, kernel]));
const table = new Map<string, KernelTraits>();

/** @returns the model's kernel of this name, if it is one of the model's. */
export function namedKernel(name: string): AnyKernel | undefined {
  return named.get(name);
}

/** @returns what is known of a kernel. @throws Error if it is neither a core kernel that programs hold nor one of the model's. */
export function kernelTraits(name: string): KernelTraits {
  let traits = table.get(name);
  if (traits === undefined) {
    traits = find(name);
    table.set(name, traits);
  }
  return traits;
}

function find(name: string): KernelTraits {
  const definition = named.get(name);
  if (definition !== undefined) return ofNamed(definition);
  const core = coreKernel(name);
  if (core === undefined)
    throw new Error(`there is no kernel '${name}' in model/kernels/registry.ts or compile/core_shapes.ts`);
  const { operands } = core;
  return {
    shape: core.shape,
    inPlace: core.inPlace ? 0 : undefined,
    scratch: () => undefined,
    recompute: false,
    names: (count) => (operands === 'list' ? numbered(count) : operands),
  };
}

function ofNamed(definition: AnyKernel): KernelTraits {
  const order: 'variadic' | readonly string[] =
    definition.operands === 'variadic' ? 'variadic' : [...definition.operands, ...(definition.optional ?? [])];
  const names = (count: number) => (order === 'variadic' ? numbered(count) : order.slice(0, count));
  const byName = (operands: readonly Shape[]) =>
    Object.fromEntries(names(operands.length).map((name, position) => [name, operands[position]!]));
  const inPlace = definition.inPlace === undefined || order === 'variadic' ? -1 : order.indexOf(definition.inPlace);
  return {
    shape: (operands, attributes) => definition.shape(byName(operands), attributes),
    inPlace: inPlace < 0 ? undefined : inPlace,
    scratch: (operands, attributes) => definition.scratch?.(byName(operands), attributes),
    recompute: definition.recompute === true,
    names,
  };
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, position) => String(position));
}
