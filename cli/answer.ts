/** Runs a pipeline for the sake of one artifact, without a display and without publishing: a question and its answer. */
import type { Event } from '../engine/events.ts';
import { openGraph } from '../engine/graphs.ts';
import { runPipeline } from '../engine/run.ts';
import { failureText, noteText } from './messages.ts';
import { withWorkspace } from './request.ts';

export interface Question {
  /** The pipeline file: absolute, or relative to the project's root. */
  readonly file: string;
  /** The params that are asked with. */
  readonly params: Readonly<Record<string, unknown>>;
  /** The task and the output of it that is the answer; a file. */
  readonly task: string;
  readonly output: string;
}

/**
 * Answers from the store where the question has been answered before.
 * @returns the content of the answer; null when a task failed, which was told on standard error.
 * @throws PipelineError for params that the stages refuse.
 */
export function answer({ file, params, task, output }: Question): Promise<Buffer | null> {
  return withWorkspace(async (workspace) => {
    const given = Object.entries(params).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
    const graph = await openGraph(workspace, { file, params: given });
    // Nothing is published: asking must not change what is in results/.
    const quiet = { ...graph, publications: [] };
    let key: string | null = null;
    const hear = (event: Event): void => {
      if ((event.type === 'task-done' || event.type === 'task-cached') && event.task === task) key = event.key;
      const told = event.type === 'task-failed' ? failureText(graph, event) : noteText(event);
      if (told !== null) process.stderr.write(`${told}\n`);
    };
    const { status } = await runPipeline(workspace, quiet, { targets: [task] }, hear);
    if (status !== 'done') return null;
    const artifact = key === null ? undefined : workspace.store.readRecord(key)?.outputs[output];
    if (artifact === undefined) throw new Error(`${task} is done and has no ${output}`);
    return workspace.store.readBlob(artifact.digest);
  });
}
