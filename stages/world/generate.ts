/** Generates, from a seed, the text and the instruction records of the small world. */
import { createHash } from 'node:crypto';
import { alpacaPrompt } from '../../model/alpaca.ts';
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

/**
 * Instructions with their answers, as a text gathered from the world would hold some: of facts, lists and numbers. Tasks
 * on language are left out, because the sentences that they rewrite need not be true.
 */
const answered: Prose = (random) => {
  for (;;) {
    const record = random.pick(answeredTasks)(random);
    if (isOfTheText(record)) return alpacaPrompt(record) + record.output;
  }
};
const answeredTasks: readonly Task[] = [...factTasks, ...listTasks, ...numberTasks];

const prose: readonly Prose[] = [
  ...factProse,
  ...skillProse,
  ...storyProse,
  instructions,
  instructions,
  ...Array<Prose>(6).fill(answered),
];

/** Whether a record may stand in the text: one in four. The others make instruction sets, so no set holds a record of the text. */
function isOfTheText({ instruction, input }: InstructionRecord): boolean {
  return createHash('sha256').update(`${instruction}\n${input}`).digest()[0]! < 64;
}

/**
 * Instruction records, no two with the same instruction and input, and none that the text may hold. Every kind of task is equally likely until its records are used
 * up; lists and sentences alone give more than a million, the most that can be asked for.
 */
export function instructionRecords(seed: number, count: number): InstructionRecord[] {
  const random = new Random(seed, 'instructions');
  const records = new Map<string, InstructionRecord>();
  while (records.size < count) {
    const record = random.pick(tasks)(random);
    const key = `${record.instruction}\n${record.input}`;
    if (!isOfTheText(record) && !records.has(key)) records.set(key, record);
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
