/** Names the inputs of a task in what is said of its failure: the paths that it was given are gone when it is read. */
import type { Attempt } from './attempt.ts';
import type { Task } from './graph.ts';

/**
 * Puts `input (producer.artifact)` in place of the paths under which an attempt was given its artifacts.
 * Files outside the store keep their paths: those are where the user has them.
 */
export function nameInputs(message: string, task: Task, inputs: Attempt['inputs']): string {
  const names = new Map<string, string>();
  for (const [input, ref] of Object.entries(task.inputs)) {
    const given = inputs[input];
    if (ref.kind === 'file' || ref.kind === 'lineage' || given === undefined) continue;
    const refs = ref.kind === 'all' ? ref.members : [ref];
    const paths = typeof given === 'string' ? [given] : given.map(({ path }) => path);
    for (const [i, { task: producer, artifact }] of refs.entries()) {
      // Equal content is given under one path: the first input that has it stands for all.
      if (!names.has(paths[i]!)) names.set(paths[i]!, `${input} (${producer}.${artifact})`);
    }
  }
  // Longer paths first: one may begin with another.
  const paths = [...names.keys()].sort((a, b) => b.length - a.length);
  return paths.reduce((text, path) => text.replaceAll(path, () => names.get(path)!), message);
}
