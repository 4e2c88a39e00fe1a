/** A program as text: every buffer with its shape, storage and place in the arena, every call with its operands. */
import { byteLength } from './buffers.ts';
import type { Attribute, Buffer, Plan, Program } from './program.ts';

/**
 * Lists a program. Temporaries are `%n`, others go by name; a view is written `name:[shape]`.
 * @param plan adds offsets and bytes, and a summary by group.
 */
export function printProgram(program: Program, plan?: Plan): string {
  const lines = [`program ${program.name}: ${program.calls.length} calls, ${program.buffers.length} buffers`];
  if (plan !== undefined) {
    const groups = Object.entries(plan.groups).map(([group, bytes]) => `${group} ${bytes}`);
    lines.push(`arena ${plan.arenaBytes} bytes: ${groups.join(', ')}`);
    if (plan.paged.bytes > 0) lines.push(`paged to the host ${plan.paged.bytes} bytes`);
  }
  const width = Math.max(...program.buffers.map((_, index) => reference(program, index).length), 0);
  for (const role of ['weight', 'state', 'input', 'constant', 'temporary'] as const) {
    program.buffers.forEach((buffer, index) => {
      if (buffer.role !== role || buffer.view !== undefined) return;
      const where = plan?.paged.buffers.includes(index) ? 'host ' : '';
      const place = plan === undefined ? '' : `  @${where}${plan.offsets[index]} +${byteLength(buffer)}`;
      lines.push(`  ${role.padEnd(9)} ${reference(program, index).padEnd(width)}  ${typeOf(buffer)}${place}`);
    });
  }
  program.calls.forEach((call, position) => {
    const attributes = Object.entries(call.attributes).map(([name, value]) => `${name}=${textOf(value)}`);
    const operands = [...call.inputs.map((input) => reference(program, input)), ...attributes];
    const scratch = call.scratch === undefined ? '' : ` scratch ${reference(program, call.scratch)}`;
    const target = call.outputs.map((output) => reference(program, output)).join(', ');
    lines.push(`  ${String(position).padStart(5)}  ${target} = ${call.kernel}(${operands.join(', ')})${scratch}`);
  });
  for (const [name, buffer] of Object.entries(program.outputs))
    lines.push(`  output ${name} = ${reference(program, buffer)}`);
  return lines.join('\n');
}

function reference(program: Program, index: number): string {
  const buffer = program.buffers[index]!;
  if (buffer.view !== undefined) return `${reference(program, buffer.view)}:[${buffer.shape.join(',')}]`;
  return buffer.role === 'temporary' ? `%${index}` : buffer.name;
}

function typeOf(buffer: Buffer): string {
  return `${buffer.storage}[${buffer.shape.join(',')}]`;
}

function textOf(value: Attribute): string {
  return Array.isArray(value) ? `[${value.join(',')}]` : String(value);
}
