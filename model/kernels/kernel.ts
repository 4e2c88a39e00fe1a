/** What a named kernel is: its operands, the shape of its one output, its composite in core TF.js operations and its gradient. */
import { type NamedTensorMap, type Tensor, tf, tfBackends } from '../tf.ts';

export type Shape = readonly number[];

/** An attribute of a kernel: never a tensor, so that nothing is uploaded for it. */
export type Attribute = number | boolean | string | number[];
export type Attributes = Readonly<Record<string, Attribute>>;

/** Values by operand name; those of `P` may be absent. */
type ByName<O extends string, P extends string, V> = Readonly<Record<O, V>> & Readonly<Partial<Record<P, V>>>;

/**
 * A named kernel. It has one output, a float32 tensor unless `storage` says otherwise: several outputs would make TF.js's tape build zeros on the host
 * for those that a gradient does not use. Operands of TF.js are float32 or int32; how a program stores them is not seen here.
 */
export interface KernelDefinition<
  A extends Attributes = Attributes,
  O extends string = string,
  P extends string = never,
  S extends O = O,
> {
  readonly name: string;
  /** Names of the operands, in the order in which a program lists them; `variadic` for any number of them, in the order given. */
  readonly operands: readonly O[] | 'variadic';
  /** Operands that may be absent: they come last. */
  readonly optional?: readonly P[];
  /** The output's shape. @throws Error when the operands do not fit together. */
  shape(shapes: ByName<O, P, Shape>, attributes: A): number[];
  /** The same computation in core TF.js operations: the readable definition, the oracle, and what runs on TF.js's own backends. */
  composite(inputs: ByName<O, P, Tensor>, attributes: A): Tensor;
  readonly gradient?: {
    /** The operands that the gradient reads. */
    readonly saves: readonly S[];
    /** For each operand that can be differentiated, a function that computes its gradient. Those of frozen operands are never called. */
    of(dy: Tensor, saved: Readonly<Record<S, Tensor>>, attributes: A): Readonly<Partial<Record<O | P, () => Tensor>>>;
  };
  /** How a program stores the output, if not in float32; TF.js sees it as int32 then. */
  readonly storage?: 'uint8';
  /** The operand whose memory the output may take, when that operand is not used afterwards. */
  readonly inPlace?: O;
  /** Shape of the float32 scratch space that the kernel needs besides its output. */
  scratch?(shapes: ByName<O, P, Shape>, attributes: A): number[];
  /** Set on a kernel that is cheaper to run again before each use of its output than the output is to keep. */
  readonly recompute?: true;
}

/** A kernel of unknown operands and attributes, as the registry holds it. */
// biome-ignore lint/suspicious/noExplicitAny: the operand and attribute types differ from kernel to kernel and vary both ways.
export type AnyKernel = KernelDefinition<any, any, any, any>;

/**
 * Declares a kernel with attributes of type `A`: `defineKernel<{ epsilon: number }>()({ name: 'LayerNorm', ... })`.
 * Called twice because TypeScript infers either all type parameters or none: `A` is given, the operands' names are inferred.
 */
export function defineKernel<A extends Attributes = Record<never, never>>() {
  return <const O extends string, const P extends string = never, const S extends O = never>(
    definition: KernelDefinition<A, O, P, S>,
  ): KernelDefinition<A, O, P, S> => definition;
}

/**
 * Runs a kernel on the current backend, recording it on the gradient tape if one is active.
 * @throws Error when the operands' shapes do not fit together.
 */
export function runKernel<A extends Attributes, O extends string, P extends string, S extends O>(
  definition: KernelDefinition<A, O, P, S>,
  inputs: ByName<O, P, Tensor>,
  attributes: A,
): Tensor {
  register(definition);
  const given = inputs as Readonly<Record<string, Tensor | undefined>>;
  const names =
    definition.operands === 'variadic' ? Object.keys(given) : [...definition.operands, ...(definition.optional ?? [])];
  const operands: NamedTensorMap = {};
  const shapes: Record<string, Shape> = {};
  for (const name of names) {
    const tensor = given[name];
    if (tensor === undefined) continue;
    operands[name] = tensor;
    shapes[name] = tensor.shape;
  }
  definition.shape(shapes as ByName<O, P, Shape>, attributes);
  return tf.engine().runKernel(definition.name, operands, attributes) as Tensor;
}

const registered = new WeakSet<AnyKernel>();

/** Registers a kernel's composite for TF.js's backends, and its gradient, once: when it is first run. */
function register(definition: AnyKernel): void {
  if (registered.has(definition)) return;
  registered.add(definition);
  for (const backendName of tfBackends) {
    tf.registerKernel({
      kernelName: definition.name,
      backendName,
      kernelFunc: ({ inputs, attrs }) =>
        tf.tidy(() => definition.composite(inputs as NamedTensorMap, (attrs ?? {}) as Attributes)),
    });
  }
  const { gradient } = definition;
  if (gradient === undefined) return;
  tf.registerGradient({
    kernelName: definition.name,
    inputsToSave: [...gradient.saves],
    gradFunc: (dy, saved, attrs) => {
      const byName = Object.fromEntries(gradient.saves.map((name: string, i: number) => [name, saved[i]!]));
      return gradient.of(dy as Tensor, byName, attrs as Attributes) as Record<string, () => Tensor>;
    },
  });
}

/** The sum of those that are there. */
export function sumOf(first: Tensor, ...others: readonly (Tensor | undefined)[]): Tensor {
  return others.reduce((sum: Tensor, other) => (other === undefined ? sum : tf.add(sum, other)), first);
}

/** Throws unless `shape` is `expected`, where null stands for any size. */
export function expectShape(kernel: string, operand: string, shape: Shape, expected: readonly (number | null)[]): void {
  const fits = shape.length === expected.length && expected.every((size, i) => size === null || size === shape[i]);
  if (fits) return;
  const wanted = expected.map((size) => size ?? '*').join(', ');
  throw new Error(`${kernel}: operand '${operand}' has shape [${shape.join(', ')}], expected [${wanted}]`);
}
