/** Pass: keeps one buffer for constants of equal shape, type and content. */
import { substitute } from '../buffers.ts';
import type { Buffer, Program } from '../program.ts';

/** Every use of a repeated constant becomes a use of its first appearance. */
export function mergeConstants(program: Program): Program {
  const byShape = new Map<string, number[]>();
  const merged = new Map<number, number>();
  program.buffers.forEach((buffer, index) => {
    if (buffer.role !== 'constant' || buffer.view !== undefined) return;
    const key = `${buffer.storage}:${buffer.shape.join()}`;
    const seen = byShape.get(key) ?? [];
    const equal = seen.find((other) => sameData(program.buffers[other]!, buffer));
    if (equal === undefined) byShape.set(key, [...seen, index]);
    else merged.set(index, equal);
  });
  return substitute(program, merged);
}

/** Compares with Object.is, so that -0 and 0 stay apart and NaN equals itself. */
function sameData(a: Buffer, b: Buffer): boolean {
  return a.data!.every((value, index) => Object.is(value, b.data![index]));
}
