/** The benchmarks: measures the subjects that are asked for, all in one run, and prints one table. */
import { parseArgs } from 'node:util';
import { comparison } from './comparison.ts';
import { diagnostic } from './diagnostic.ts';
import { engine } from './engine.ts';
import { barText, type Figure, meetsBar, type Skipped, type Subject } from './figure.ts';
import { gemm } from './gemm.ts';
import { loraStep } from './lora_step.ts';
import { loadText, machineText } from './machine.ts';
import { memory } from './memory.ts';
import { scale } from './scale.ts';
import { sha256 } from './sha256.ts';
import { sharedCache } from './shared_cache.ts';
import { tableOf } from './table.ts';
import { task } from './task.ts';

const subjects: readonly Subject[] = [
  loraStep,
  gemm,
  comparison,
  task,
  engine,
  scale,
  sha256,
  sharedCache,
  memory,
  diagnostic,
];

const usage = `Usage: npm run bench [-- SUBJECT... [--rounds N]]

Subjects: ${subjects.map(({ name }) => name).join(', ')}. Without one, all are measured.
  --rounds N   how often each measurement is repeated (7)`;

/**
 * Runs `npm run bench -- ARGS`.
 * @returns the exit code: 0 when everything was measured, be a bar met or missed; 1 when a subject failed; 2 for wrong arguments.
 */
export async function main(args: readonly string[]): Promise<number> {
  const request = parse(args);
  if ('problem' in request) {
    console.error(`${request.problem}\n\n${usage}`);
    return 2;
  }
  console.log(`${machineText()}\n${loadText('at the start')}\n`);
  const figures: (Figure | Skipped)[] = [];
  let failures = 0;
  for (const { name, measure } of request.subjects) {
    console.error(`measuring ${name} ...`);
    try {
      figures.push(...(await measure(request.rounds)));
    } catch (error) {
      failures++;
      console.error(error);
      figures.push({ what: name, skipped: `it failed: ${(error as Error).message.split('\n')[0]}` });
    }
  }
  console.log(tableOf(figures));
  console.log(`\n${summary(figures)}\n${loadText('at the end')}`);
  return failures === 0 ? 0 : 1;
}

type Request = { readonly subjects: readonly Subject[]; readonly rounds: number } | { readonly problem: string };

function parse(args: readonly string[]): Request {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { rounds: { type: 'string', default: '7' } },
    });
    const rounds = Number(values.rounds);
    if (!Number.isSafeInteger(rounds) || rounds < 1)
      return { problem: `--rounds is a positive integer, not ${values.rounds}` };
    const unknown = positionals.find((name) => !subjects.some((subject) => subject.name === name));
    if (unknown !== undefined) return { problem: `there is no subject '${unknown}'` };
    const chosen = subjects.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
    return { subjects: chosen, rounds };
  } catch (error) {
    return { problem: (error as Error).message };
  }
}

function summary(figures: readonly (Figure | Skipped)[]): string {
  const measured = figures.filter((figure): figure is Figure => !('skipped' in figure));
  const missed = measured.filter((figure) => meetsBar(figure) === false);
  const met = measured.filter((figure) => meetsBar(figure) === true).length;
  const skipped = figures.length - measured.length;
  const bars = `${met} of ${met + missed.length} bars met${skipped > 0 ? `, ${skipped} skipped` : ''}`;
  return [bars, ...missed.map((figure) => `missed: ${figure.what}, ${barText(figure)}`)].join('\n');
}
