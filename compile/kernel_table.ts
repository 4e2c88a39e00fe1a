/** What the compiler knows of each kernel that a program may hold: core_shapes.ts's, the model's, and those that passes make. */
import type { AnyKernel } from '../model/kernels/kernel.ts';
import { kernels } from '../model/kernels/registry.ts';
import { coreKernel } from './core_shapes.ts';
import { joinedKernel } from './joined_kernels.ts';
import type { KernelTraits } from './kernel_traits.ts';
import { withoutNested } from './nested.ts';

type Shape = readonly number[];

const named: ReadonlyMap<string, AnyKernel> = new Map(kernels.map((kernel) => [kernel.name, kernel]));
const table = new Map<string, KernelTraits>();

/** @returns the model's kernel of this name, if it is one of the model's. */
export function namedKernel(name: string): AnyKernel | undefined {
  return named.get(name);
}

/** @returns what is known of a kernel. @throws Error if it is none that programs hold. */
export function kernelTraits(name: string): KernelTraits {
  let traits = table.get(name);
  if (traits === undefined) {
    const found = find(name);
    const outputs: KernelTraits['outputs'] = (operands, attributes) =>
      found.outputs(withoutNested(name, operands, attributes), attributes);
    traits = { ...found, outputs };
    table.set(name, traits);
  }
  return traits;
}

function find(name: string): KernelTraits {
  const joined = joinedKernel(name);
  if (joined !== undefined) return joined;
  const definition = named.get(name);
  if (definition !== undefined) return ofNamed(definition);
  const core = coreKernel(name);
  if (core === undefined)
    throw new Error(
      `there is no kernel '${name}' in model/kernels/registry.ts, compile/core_shapes.ts or compile/joined_kernels.ts`,
    );
  const { operands } = core;
  return {
    outputs: (shapes, attributes) => [core.shape(shapes, attributes)],
    inPlace: (output) => (core.inPlace && output === 0 ? 0 : undefined),
    scratch: () => undefined,
    recompute: false,
    names: (count) => (operands === 'list' ? numbered(count) : operands),
    ...(core.storage === undefined ? {} : { storage: core.storage }),
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
    outputs: (operands, attributes) => [definition.shape(byName(operands), attributes)],
    inPlace: (output) => (inPlace < 0 || output !== 0 ? undefined : inPlace),
    scratch: (operands, attributes) => definition.scratch?.(byName(operands), attributes),
    recompute: definition.recompute === true,
    names,
    ...(definition.storage === undefined ? {} : { storage: definition.storage }),
  };
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, position) => String(position));
}
