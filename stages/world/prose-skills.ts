/** Plain prose that works things out: arithmetic, lists, letters, words and sentences. */
import type { Random } from '../../model/random.ts';
import { people } from './people.ts';
import type { Prose } from './prose-facts.ts';
import { colours, places, things } from './things.ts';
import { joined, numberWords, opposites, verbs } from './words.ts';

/** Between one and all of the sentences, in random order. */
function some(random: Random, sentences: readonly string[]): string {
  return random.sample(sentences, 1 + random.integer(sentences.length)).join(' ');
}

/** A few lines of one kind of sum. */
const sums: Prose = (random) =>
  Array.from({ length: 2 + random.integer(4) }, () => {
    const [a, b] = [random.integer(21), random.integer(21)];
    const [high, low] = a > b ? [a, b] : [b, a];
    const [c, d] = [1 + random.integer(10), 1 + random.integer(10)];
    const e = 1 + random.integer(20);
    return random.pick([
      `${a} + ${b} = ${a + b}.`,
      `${a} plus ${b} is ${a + b}.`,
      `${high} - ${low} = ${high - low}.`,
      `${high} minus ${low} is ${high - low}.`,
      `${c} * ${d} = ${c * d}.`,
      `${c} times ${d} is ${c * d}.`,
      `The double of ${e} is ${2 * e}, and half of ${2 * e} is ${e}.`,
    ]);
  }).join(' ');

const counting: Prose = (random) => {
  const a = 1 + random.integer(98);
  const b = (a + 1 + random.integer(98)) % 100;
  const [big, small] = a > b ? [a, b] : [b, a];
  const word = random.integer(numberWords.length);
  return some(random, [
    `After ${a} comes ${a + 1}, and before ${a} comes ${a - 1}.`,
    `${a + 1} comes after ${a}.`,
    `${a - 1} comes before ${a}.`,
    `${big} is bigger than ${small}, and ${small} is smaller than ${big}.`,
    `${a} is ${a % 2 === 0 ? 'even' : 'odd'}.`,
    `The number ${word} is written ${numberWords[word]}.`,
    `${Array.from({ length: 5 }, (_, k) => a + k).join(', ')}.`,
  ]);
};

const list: Prose = (random) => {
  const words = random.sample(things, 2 + random.integer(4)).map((t) => t.name);
  const extra = random.pick(things.filter((t) => !words.includes(t.name))).name;
  const gone = random.pick(words);
  return `Here is a list of words: ${words.join(', ')}. ${some(random, [
    `There are ${words.length} words in the list.`,
    `The first word is ${words[0]} and the last word is ${words.at(-1)}.`,
    `In reverse order the list is ${words.toReversed().join(', ')}.`,
    `In alphabetical order the list is ${words.toSorted().join(', ')}.`,
    `With and before the last word it is ${joined(words)}.`,
    `Without ${gone} the list is ${words.filter((word) => word !== gone).join(', ')}.`,
    `With ${extra} at the end the list is ${[...words, extra].join(', ')}.`,
  ])}`;
};

const numberList: Prose = (random) => {
  const all = random.sample(
    Array.from({ length: 100 }, (_, i) => i),
    2 + random.integer(4),
  );
  return `Here is a list of numbers: ${all.join(', ')}. ${some(random, [
    `The biggest number is ${Math.max(...all)}.`,
    `The smallest number is ${Math.min(...all)}.`,
    `In order, the smallest first, the numbers are ${all.toSorted((a, b) => a - b).join(', ')}.`,
    `There are ${all.length} numbers.`,
  ])}`;
};

const repeated: Prose = (random) => {
  const [word, other] = random.sample(things, 2).map((t) => t.name) as [string, string];
  const times = 1 + random.integer(4);
  const words = random.shuffle([...Array<string>(times).fill(word), other]);
  return `In ${words.join(', ')} the word ${word} occurs ${times} ${times === 1 ? 'time' : 'times'}.`;
};

const letters: Prose = (random) => {
  const { name } = random.pick(things);
  return some(random, [
    `The word ${name} has ${name.length} letters.`,
    `The word ${name} begins with the letter ${name[0]} and ends with the letter ${name.at(-1)}.`,
    `The first letter of ${name} is ${name[0]}.`,
    `The last letter of ${name} is ${name.at(-1)}.`,
    `The word ${name} is spelled ${[...name].join('-')}.`,
  ]);
};

const words: Prose = (random) => {
  const [a, b] = random.shuffle([...random.pick(opposites)]) as [string, string];
  const { base, present, past } = random.pick(verbs);
  const { name, plural } = random.pick(things);
  return some(random, [
    `The opposite of ${a} is ${b}.`,
    `What is not ${a} is ${b}.`,
    `The past tense of ${base} is ${past}.`,
    `Today it ${present}, yesterday it ${past}.`,
    `The plural of ${name} is ${plural}.`,
  ]);
};

const sentences: Prose = (random) => {
  const who = random.uniform() < 0.5 ? random.pick(people).name : `The ${random.pick(things).name}`;
  const { present, past } = random.pick(verbs);
  const [place, elsewhere] = random.sample(places, 2);
  const { name } = random.pick(things);
  const colour = random.pick(colours);
  return some(random, [
    `${who} ${present} in the ${place}. In the past tense: ${who} ${past} in the ${place}.`,
    `${who} ${past} in the ${place}. In the present tense: ${who} ${present} in the ${place}.`,
    `${who} ${present} in the ${place}. With ${elsewhere} instead of ${place}: ${who} ${present} in the ${elsewhere}.`,
    `"The ${name} is ${colour}." As a question: "Is the ${name} ${colour}?"`,
    `"The ${name} is ${colour}." With not: "The ${name} is not ${colour}."`,
  ]);
};

/** Every kind of worked prose. */
export const skillProse: readonly Prose[] = [
  sums,
  sums,
  counting,
  list,
  list,
  numberList,
  repeated,
  letters,
  words,
  sentences,
];
