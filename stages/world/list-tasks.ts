/** Instructions on a list in the input: order, count, choose, join, remove. */
import type { Random } from '../../model/random.ts';
import { given, type Task } from './task.ts';
import { type Kind, kinds, things, thingsOf, withArticle } from './things.ts';
import { joined } from './words.ts';

/** Different nouns of the world, 3 to 5 of them. */
function nouns(random: Random, least = 3, most = 5): string[] {
  return random.sample(things, least + random.integer(most - least + 1)).map((thing) => thing.name);
}

function numbers(random: Random, least = 3, most = 5): number[] {
  const all = Array.from({ length: 100 }, (_, i) => i);
  return random.sample(all, least + random.integer(most - least + 1));
}

const reverse: Task = (random) => {
  const words = nouns(random, 2, 4);
  const wordings = ['Reverse the list.', 'Write the words in reverse order.'];
  return given(random, wordings, words.join(', '), words.toReversed().join(', '));
};

const sort: Task = (random) => {
  const words = nouns(random, 2, 4);
  const wordings = ['Sort the words.', 'Put the words in alphabetical order.'];
  return given(random, wordings, words.join(', '), words.toSorted().join(', '));
};

const end: Task = (random) => {
  const words = nouns(random);
  return random.uniform() < 0.5
    ? given(random, ['Give the first word of the list.', 'What is the first word?'], words.join(', '), words[0]!)
    : given(random, ['Give the last word of the list.', 'What is the last word?'], words.join(', '), words.at(-1)!);
};

const count: Task = (random) => {
  const words = nouns(random, 2, 7);
  const wordings = ['Count the words in the list.', 'How many words are in the list?'];
  return given(random, wordings, words.join(', '), `There are ${words.length} words.`);
};

const countOne: Task = (random) => {
  const [word, other, third] = nouns(random, 3, 3) as [string, string, string];
  const times = 1 + random.integer(4);
  const list = [...Array<string>(times).fill(word), other, ...(random.uniform() < 0.5 ? [third] : [])];
  const wordings = [`How many times does ${word} occur?`, `Count the word ${word}.`];
  return given(random, wordings, random.shuffle(list).join(', '), `${times}`);
};

const choose: Task = (random) => {
  const [wanted, other] = random.sample(Object.keys(kinds) as Kind[], 2) as [Kind, Kind];
  const right = random.pick(thingsOf(wanted)).name;
  const list = random.shuffle([right, ...random.sample(thingsOf(other), 2).map((thing) => thing.name)]);
  const a = withArticle(wanted);
  return given(random, [`Which word is ${a}?`, `Find ${a} in the list.`], list.join(', '), right);
};

const oddOneOut: Task = (random) => {
  const [common, odd] = random.sample(Object.keys(kinds) as Kind[], 2) as [Kind, Kind];
  const stranger = random.pick(thingsOf(odd)).name;
  const list = random.shuffle([stranger, ...random.sample(thingsOf(common), 3).map((thing) => thing.name)]);
  const wordings = ['Which word does not belong?', 'Find the odd one out.'];
  return given(random, wordings, list.join(', '), `${stranger} is not ${withArticle(common)}.`);
};

const join: Task = (random) => {
  const words = nouns(random, 2, 4);
  return given(
    random,
    ['Join the words with and.', 'Write the list with and before the last word.'],
    words.join(', '),
    joined(words),
  );
};

const remove: Task = (random) => {
  const words = nouns(random);
  const gone = random.pick(words);
  const rest = words.filter((word) => word !== gone);
  return given(
    random,
    [`Remove ${gone} from the list.`, `Write the list without ${gone}.`],
    words.join(', '),
    rest.join(', '),
  );
};

const add: Task = (random) => {
  const [extra, ...words] = nouns(random, 3, 5) as [string, ...string[]];
  const wordings = [`Add ${extra} at the end of the list.`];
  return given(random, wordings, words.join(', '), [...words, extra].join(', '));
};

const extreme: Task = (random) => {
  const list = numbers(random);
  return random.uniform() < 0.5
    ? given(
        random,
        ['Find the biggest number.', 'Which number is the biggest?'],
        list.join(', '),
        `${Math.max(...list)}`,
      )
    : given(
        random,
        ['Find the smallest number.', 'Which number is the smallest?'],
        list.join(', '),
        `${Math.min(...list)}`,
      );
};

const sortNumbers: Task = (random) => {
  const list = numbers(random, 2, 4);
  const wordings = ['Sort the numbers.', 'Put the numbers in order, the smallest first.'];
  return given(random, wordings, list.join(', '), list.toSorted((a, b) => a - b).join(', '));
};

/** Every kind of instruction on a list. */
export const listTasks: readonly Task[] = [
  reverse,
  sort,
  end,
  count,
  countOne,
  choose,
  oddOneOut,
  join,
  remove,
  add,
  extreme,
  sortNumbers,
];
