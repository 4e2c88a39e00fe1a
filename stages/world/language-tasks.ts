/** Instructions about words and sentences: letters, opposites, plurals, and rewriting. */
import type { Random } from '../../model/random.ts';
import { people } from './people.ts';
import { ask, given, type Task } from './task.ts';
import { colours, places, things } from './things.ts';
import { capital, opposites, type Verb, verbs } from './words.ts';

const opposite: Task = (random) => {
  const [word, other] = random.shuffle([...random.pick(opposites)]) as [string, string];
  return random.uniform() < 0.5
    ? ask(random, [`What is the opposite of ${word}?`], `The opposite of ${word} is ${other}.`)
    : given(random, ['Give the opposite of the word.', 'Write the opposite.'], word, other);
};

const plural: Task = (random) => {
  const { name, plural } = random.pick(things);
  return random.uniform() < 0.5
    ? ask(random, [`What is the plural of ${name}?`], `The plural of ${name} is ${plural}.`)
    : given(random, ['Write the plural of the word.'], name, plural);
};

const letters: Task = (random) => {
  const word = random.pick(things).name;
  switch (random.integer(4)) {
    case 0:
      return ask(
        random,
        [`What is the first letter of ${word}?`, `With which letter does ${word} begin?`],
        word.at(0)!,
      );
    case 1:
      return ask(random, [`What is the last letter of ${word}?`, `With which letter does ${word} end?`], word.at(-1)!);
    case 2:
      return ask(random, [`How many letters does ${word} have?`, `Count the letters of ${word}.`], `${word.length}`);
    default:
      return ask(random, [`Spell ${word}.`, `Spell the word ${word}.`], [...word].join('-'));
  }
};

/** Somebody or something, as the subject of a sentence. */
function subject(random: Random): string {
  return random.uniform() < 0.5
    ? random.pick(people).name
    : `The ${random.pick(things.filter((t) => t.kind === 'animal')).name}`;
}

function sentence(who: string, verb: Verb, form: 'present' | 'past', place: string): string {
  return `${who} ${verb[form]} in the ${place}.`;
}

const tense: Task = (random) => {
  const [who, verb, place] = [subject(random), random.pick(verbs), random.pick(places)];
  const [present, past] = [sentence(who, verb, 'present', place), sentence(who, verb, 'past', place)];
  return random.uniform() < 0.6
    ? given(random, ['Rewrite the sentence in the past tense.', 'Put the sentence in the past.'], present, past)
    : given(random, ['Rewrite the sentence in the present tense.', 'Put the sentence in the present.'], past, present);
};

const pastOfVerb: Task = (random) => {
  const { base, past } = random.pick(verbs);
  return ask(
    random,
    [`What is the past tense of ${base}?`, `Give the past tense of ${base}.`],
    `The past tense of ${base} is ${past}.`,
  );
};

const question: Task = (random) => {
  const { name } = random.pick(things);
  const colour = random.pick(colours);
  const wordings = ['Turn the sentence into a question.', 'Rewrite the sentence as a question.'];
  return given(random, wordings, `The ${name} is ${colour}.`, `Is the ${name} ${colour}?`);
};

const negation: Task = (random) => {
  const { name } = random.pick(things);
  const colour = random.pick(colours);
  return given(
    random,
    ['Make the sentence negative.', 'Rewrite the sentence with not.'],
    `The ${name} is ${colour}.`,
    `The ${name} is not ${colour}.`,
  );
};

const replace: Task = (random) => {
  const [a, b] = random.sample(places, 2) as [string, string];
  const [who, verb] = [subject(random), random.pick(verbs)];
  const wordings = [`Replace ${a} with ${b}.`, `Write ${b} instead of ${a}.`];
  return given(random, wordings, sentence(who, verb, 'present', a), sentence(who, verb, 'present', b));
};

const swap: Task = (random) => {
  const [a, b] = random.sample(things, 2) as [(typeof things)[number], (typeof things)[number]];
  const words = `the ${a.name} and the ${b.name}`;
  return given(
    random,
    ['Swap the two things.', 'Name the two things the other way round.'],
    capital(words),
    `The ${b.name} and the ${a.name}`,
  );
};

const adjective: Task = (random) => {
  const { name } = random.pick(things);
  const [word, other] = random.shuffle([
    ...random.pick(opposites.filter(([a]) => !['up', 'left', 'day', 'first'].includes(a))),
  ]) as [string, string];
  return given(
    random,
    ['Rewrite the sentence with the opposite.', 'Say the opposite.'],
    `The ${name} is ${word}.`,
    `The ${name} is ${other}.`,
  );
};

/** Every kind of instruction about words and sentences. */
export const languageTasks: readonly Task[] = [
  opposite,
  plural,
  letters,
  letters,
  tense,
  pastOfVerb,
  question,
  negation,
  replace,
  swap,
  adjective,
];
