/** Generates, from a seed, the text and the instruction records of the small world. */
import { Random } from '../../model/random.ts';
import { endOfTextToken } from '../../model/tokenizer.ts';
import { factTasks } from './fact-tasks.ts';
import { languageTasks } from './language-tasks.ts';
import { listTasks } from './list-tasks.ts';
import { numberTasks } from './number-tasks.ts';
import { factProse, type Prose } from './prose-facts.ts';
import { skillProse } from './prose-skills.ts';
import { storyProse } from './prose-stories.ts';
import type { InstructionRecord, Task } from './task.ts';

const tasks: readonly Task[] = [...factTasks, ...listTasks, ...numberTasks, ...languageTasks];

/** A few instructions without their answers: the text knows the words of instructions, and leaves following them to be learned. */
const instructions: Prose = (random) =>
  `These are instructions. ${Array.from({ length: 2 + random.integer(3) }, () => random.pick(tasks)(random).instruction).join(' ')}`;

const prose: readonly Prose[] = [...factProse, ...skillProse, ...storyProse, instructions, instructions];

/**
 * Instruction records, no two with the same instruction and input. Every kind of task is equally likely until its records are used
 * up; lists and sentences alone give more than a million, the most that can be asked for.
 */
export function instructionRecords(seed: number, count: number): InstructionRecord[] {
  const random = new Random(seed, 'instructions');
  const records = new Map<string, InstructionRecord>();
  while (records.size < count) {
    const record = random.pick(tasks)(random);
    const key = `${record.instruction}\n${record.input}`;
    if (!records.has(key)) records.set(key, record);
  }
  return [...records.values()];
}

/** Documents of plain text, at least `bytes` of them together, each ended by a line `<|endoftext|>`. */
export function* corpusDocuments(seed: number, bytes: number): Generator<string> {
  const random = new Random(seed, 'corpus');
  for (let done = 0; done < bytes; ) {
    const document = `${random.pick(prose)(random)}\n${endOfTextToken}\n`;
    done += Buffer.byteLength(document);
    yield document;
  }
}
