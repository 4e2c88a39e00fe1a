/** Checks a program's invariants, so that a fault in a trace or a pass is named here and not met as a wrong number later. */
import { byteLength, elementCount, rootOf, sameShape } from './buffers.ts';
import { kernelTraits } from './kernel_table.ts';
import type { Call, Program } from './program.ts';

/** A program that breaks an invariant: a fault of the compiler, or of whoever wrote the program by hand. */
export class ProgramError extends Error {
  override readonly name = 'ProgramError';
}

/**
 * Checks that names are unique, views fit what they view, constants have their data, calls name known kernels with
 * operands of fitting shapes, nothing is read before it is written, and only states and temporaries are written.
 * @throws ProgramError naming the program and the buffer or call that is wrong.
 */
export function validate(program: Program): void {
  checkBuffers(program);
  const defined = new Set<number>();
  program.buffers.forEach((buffer, index) => {
    if (buffer.role !== 'temporary' && buffer.view === undefined) defined.add(index);
  });
  program.calls.forEach((call, position) => {
    const problem = problemOf(program, call, defined);
    if (problem !== undefined) fail(program, `call ${position} (${describe(program, call)}): ${problem}`);
    for (const output of call.outputs) defined.add(rootOf(program, output));
  });
  for (const [name, buffer] of Object.entries(program.outputs)) {
    if (program.buffers[buffer] === undefined)
      fail(program, `output '${name}' is buffer ${buffer}, which does not exist`);
    if (!defined.has(rootOf(program, buffer))) fail(program, `output '${name}' is never written`);
  }
}

function checkBuffers(program: Program): void {
  const named = new Set<string>();
  for (const [index, buffer] of program.buffers.entries()) {
    if (!buffer.shape.every((size) => Number.isInteger(size) && size >= 0)) {
      fail(program, `buffer '${buffer.name}' has shape [${buffer.shape.join(', ')}]`);
    }
    if (buffer.view !== undefined) {
      const root = program.buffers[buffer.view];
      const fits =
        root !== undefined &&
        root.view === undefined &&
        root.role === buffer.role &&
        root.storage === buffer.storage &&
        byteLength(root) === byteLength(buffer);
      if (!fits) fail(program, `buffer ${index} ('${buffer.name}') does not fit buffer ${buffer.view}, which it views`);
      continue;
    }
    if (named.has(buffer.name)) fail(program, `two buffers are named '${buffer.name}'`);
    named.add(buffer.name);
    if (buffer.role === 'constant' && buffer.data?.length !== elementCount(buffer.shape)) {
      fail(
        program,
        `constant '${buffer.name}' has ${buffer.data?.length ?? 0} values for shape [${buffer.shape.join(', ')}]`,
      );
    }
  }
}

function problemOf(program: Program, call: Call, defined: ReadonlySet<number>): string | undefined {
  const missing = [...call.inputs, ...call.outputs, call.scratch ?? 0].find(
    (index) => program.buffers[index] === undefined,
  );
  if (missing !== undefined) return `buffer ${missing} does not exist`;
  const unwritten = call.inputs.find((input) => !defined.has(rootOf(program, input)));
  if (unwritten !== undefined) return `it reads '${program.buffers[unwritten]!.name}', which nothing has written yet`;
  return outputProblem(program, call) ?? scratchProblem(program, call);
}

function outputProblem(program: Program, call: Call): string | undefined {
  const traits = kernelTraits(call.kernel);
  const shapes = call.inputs.map((input) => program.buffers[input]!.shape);
  let expected: readonly (readonly number[])[];
  try {
    expected = traits.outputs(shapes, call.attributes);
  } catch (error) {
    return (error as Error).message;
  }
  if (call.outputs.length !== expected.length) {
    return `it has ${call.outputs.length} outputs, where the kernel has ${expected.length}`;
  }
  for (const [index, buffer] of call.outputs.entries()) {
    const output = program.buffers[buffer]!;
    if (output.role !== 'state' && output.role !== 'temporary') return `it writes '${output.name}', a ${output.role}`;
    if (!sameShape(expected[index]!, output.shape)) {
      return `it gives [${expected[index]!.join(', ')}], not the shape of '${output.name}'`;
    }
    const root = rootOf(program, buffer);
    const inPlace = traits.inPlace(index);
    const shared = call.inputs.findIndex((input, at) => rootOf(program, input) === root && at !== inPlace);
    if (shared >= 0) return `it writes over its operand ${shared}, '${output.name}', while it reads it`;
    const twice = call.outputs.findIndex((other) => rootOf(program, other) === root);
    if (twice !== index) return `it writes '${output.name}' twice`;
  }
  return undefined;
}

function scratchProblem(program: Program, call: Call): string | undefined {
  if (call.scratch === undefined) return undefined;
  const scratch = program.buffers[call.scratch]!;
  if (scratch.role !== 'temporary') return `its scratch space '${scratch.name}' is a ${scratch.role}`;
  const root = rootOf(program, call.scratch);
  const clash = [...call.inputs, ...call.outputs].some((operand) => rootOf(program, operand) === root);
  return clash ? `its scratch space '${scratch.name}' is one of its operands` : undefined;
}

function describe(program: Program, call: Call): string {
  const names = (buffers: readonly number[]) =>
    buffers.map((index) => program.buffers[index]?.name ?? index).join(', ');
  return `${call.kernel}: ${names(call.inputs)} -> ${names(call.outputs)}`;
}

function fail(program: Program, what: string): never {
  throw new ProgramError(`program '${program.name}': ${what}`);
}
