/** The tracer: runs a step on a TF.js backend that computes shapes and holds no data, and keeps its kernel calls as a program. */
import { kernels } from '../model/kernels/registry.ts';
import type { Group, Scope, Step, Storage } from '../model/scope.ts';
import { type Tensor, type TensorInfo, tf } from '../model/tf.ts';
import { coreKernelNames } from './core_shapes.ts';
import type { Buffer, Program } from './program.ts';
import { currentBackend, onBackend } from './tf_engine.ts';
import { type FillAttributes, TraceBackend, TraceError } from './trace_backend.ts';

/** TF.js registers kernels under `kernel_backend`, so a backend's name must hold no underscore. */
const BACKEND = 'trace';

/**
 * Records one step: forward, backward and optimizer, as the program that repeats it. No tensor holds data meanwhile, so
 * a model of any size is traced in the time of its kernel calls. The TF.js backend in use before is in use again after,
 * whatever happens.
 * @returns the program as recorded, before any pass; what `update` asks for stands as copies into states at its end.
 * @throws TraceError if the step reads a tensor's content, uses a kernel that programs cannot hold, takes a tensor from
 * elsewhere, or asks for one name in two ways.
 */
export function trace<Outputs extends string>(name: string, step: Step<Outputs>): Program {
  const before = currentBackend();
  if (before === BACKEND) throw new TraceError(`trace '${name}' is started inside another trace`);
  registerTraceKernels();
  const backend = new TraceBackend(name);
  // Priority -1: TF.js must never choose this backend by itself.
  tf.registerBackend(BACKEND, () => backend, -1);
  try {
    return onBackend(BACKEND, () => record(backend, step));
  } finally {
    tf.removeBackend(BACKEND);
  }
}

function record(backend: TraceBackend, step: Step): Program {
  const scope = new TraceScope(backend);
  // Begun and ended by hand, because a tidy's result must be tensors.
  tf.engine().startScope();
  try {
    return backend.finish(step(scope));
  } finally {
    scope.dispose();
    tf.engine().endScope();
  }
}

/** The scope of a traced step: names become buffers. */
class TraceScope implements Scope {
  readonly #backend: TraceBackend;
  readonly #tensors = new Map<string, Tensor>();

  constructor(backend: TraceBackend) {
    this.#backend = backend;
  }

  weight(name: string, shape: readonly number[], storage: Storage, group: Group): Tensor {
    return this.#tensor({ name, shape: [...shape], storage, role: 'weight', group });
  }

  state(name: string, shape: readonly number[], group: Group): Tensor {
    return this.#tensor({ name, shape: [...shape], storage: 'float32', role: 'state', group });
  }

  input(name: string, shape: readonly number[], dtype: 'float32' | 'int32'): Tensor {
    return this.#tensor({ name, shape: [...shape], storage: dtype, role: 'input', group: 'activations' });
  }

  update(state: Tensor, value: Tensor): void {
    this.#backend.update(state, value);
  }

  dispose(): void {
    for (const tensor of this.#tensors.values()) tensor.dispose();
  }

  #tensor(buffer: Buffer): Tensor {
    const known = this.#tensors.get(buffer.name);
    if (known !== undefined) {
      this.#backend.expectSame(known, buffer);
      return known;
    }
    // Kept, because the step may first ask for it inside a tidy of its own.
    const tensor = tf.keep(tf.engine().makeTensorFromTensorInfo(this.#backend.declare(buffer)));
    this.#tensors.set(buffer.name, tensor);
    return tensor;
  }
}

/**
 * Registers every kernel that TF.js could be asked for: those that programs hold are recorded, the others are refused by
 * name. Done once a process; the functions find the running trace in the backend that TF.js hands them.
 */
function registerTraceKernels(): void {
  if (tf.getKernel('Identity', BACKEND) !== undefined) return;
  const register = (
    kernelName: string,
    kernelFunc: (backend: TraceBackend, inputs: tf.NamedTensorInfoMap, attributes: object) => TensorInfo,
  ) =>
    tf.registerKernel({
      kernelName,
      backendName: BACKEND,
      kernelFunc: ({ inputs, attrs, backend }) => kernelFunc(backend as TraceBackend, inputs, attrs ?? {}),
    });
  const known = new Set([...coreKernelNames, ...kernels.map(({ name }) => name)]);
  for (const name of known) register(name, (backend, inputs, attributes) => backend.record(name, inputs, attributes));
  register('Fill', (backend, _, attributes) => backend.fill(attributes as FillAttributes));
  known.add('Fill');
  for (const { kernelName } of tf.getKernelsForBackend('cpu')) {
    if (!known.has(kernelName)) register(kernelName, (backend) => backend.refuse(kernelName));
  }
}
