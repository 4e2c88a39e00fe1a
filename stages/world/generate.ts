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

/** The tasks by what they are about, in the order in which all of them are drawn from. */
const tasksByKind = { facts: factTasks, lists: listTasks, numbers: numberTasks, language: languageTasks } as const;

export type TaskKind = keyof typeof tasksByKind;
export const taskKinds = Object.keys(tasksByKind) as readonly TaskKind[];

const tasks: readonly Task[] = Object.values(tasksByKind).flat();

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
 * @throws RangeError when the kinds asked for do not give as many: none of the last 100,000 drawn was new.
 */
export function instructionRecords(
  seed: number,
  count: number,
  kinds: readonly TaskKind[] = taskKinds,
): InstructionRecord[] {
  const random = new Random(seed, 'instructions');
  const chosen = taskKinds.filter((kind) => kinds.includes(kind)).flatMap((kind) => tasksByKind[kind]);
  const records = new Map<string, InstructionRecord>();
  let inVain = 0;
  while (records.size < count) {
    const record = random.pick(chosen)(random);
    const key = `${record.instruction}\n${record.input}`;
    if (!isOfTheText(record) && !records.has(key)) {
      records.set(key, record);
      inVain = 0;
    } else if (++inVain > 100_000) {
      throw new RangeError(`${kinds.join(', ')} give ${records.size} different records, not ${count}`);
    }
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
