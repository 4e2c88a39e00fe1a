/** Little stories, questions with answers, and a few texts in the form of an instruction with its response. */

import { alpacaPrompt } from '../../model/alpaca.ts';
import { people } from './people.ts';
import type { Prose } from './prose-facts.ts';
import { counted, places, things, withArticle } from './things.ts';
import { joined, verbs } from './words.ts';

/** Two people move about; where each is at the end follows from the text. */
const moving: Prose = (random) => {
  const [a, b] = random.sample(people, 2) as [(typeof people)[number], (typeof people)[number]];
  const [from, to, other] = random.sample(places, 3);
  const { past } = random.pick(verbs);
  const lines = [
    `${a.name} and ${b.name} met on a ${random.pick(['hot', 'cold', 'wet', 'dry', 'quiet'])} day.`,
    `${a.name} was in the ${from} and ${b.name} was in the ${other}.`,
    `Then ${a.name} went from the ${from} to the ${to} and ${past} there.`,
    `Where is ${a.name} now? ${a.name} is in the ${to}.`,
    `Where is ${b.name} now? ${b.name} is in the ${other}.`,
  ];
  return lines.join(' ');
};

const standing: Prose = (random) => {
  const who = random.sample(people, 2 + random.integer(2));
  const where = random.sample(places, who.length);
  const i = random.integer(who.length);
  const place = `${who[i]!.name} is in the ${where[i]}.`;
  return `${who.map((p, k) => `${p.name} is in the ${where[k]}.`).join(' ')} ${random.pick([
    `Where is ${who[i]!.name}? ${place}`,
    `Who is in the ${where[i]}? ${place}`,
  ])}`;
};

const shopping: Prose = (random) => {
  const { name, female } = random.pick(people);
  const food = random.pick(things.filter((t) => t.kind === 'fruit' || t.kind === 'vegetable'));
  const a = 2 + random.integer(14);
  const b = 1 + random.integer(10);
  const c = 1 + random.integer(a);
  const pronoun = female ? 'she' : 'he';
  return random.pick([
    `${name} has ${counted(a, food)} and buys ${b} more. Now ${pronoun} has ${counted(a + b, food)}, because ${a} plus ${b} is ${a + b}.`,
    `${name} has ${counted(a, food)} and eats ${c}. Now ${pronoun} has ${counted(a - c, food)}, because ${a} minus ${c} is ${a - c}.`,
  ]);
};

const finding: Prose = (random) => {
  const { name, female, town } = random.pick(people);
  const found = random.sample(things, 1 + random.integer(3));
  const pronoun = female ? 'She' : 'He';
  return `One day ${name} went out in ${town}. ${pronoun} found ${joined(found.map((t) => withArticle(t.name)))}. ${found
    .map((t) => `The ${t.name} was ${t.colour}.`)
    .join(' ')} Then ${name} went home and was happy.`;
};

const answering: Prose = (random) => {
  const t = random.pick(things);
  const p = random.pick(people);
  const [question, answer] = random.pick([
    [`What colour is the ${t.name}?`, `The ${t.name} is ${t.colour}.`],
    [`Where is the ${t.name}?`, `The ${t.name} is in the ${t.place}.`],
    [`What is ${withArticle(t.name)}?`, `It is ${withArticle(t.kind)}.`],
    [`Is the ${t.name} ${t.colour}?`, `Yes, the ${t.name} is ${t.colour}.`],
    [`How old is ${p.name}?`, `${p.name} is ${p.age} years old.`],
    [`Where does ${p.name} live?`, `${p.name} lives in ${p.town}.`],
    [`Which pet does ${p.name} have?`, `${p.name} has ${withArticle(p.pet)}.`],
  ] as const);
  return `Question: ${question}\nAnswer: ${answer}`;
};

/** The form of an instruction, on two tasks that the instruction set does not have, so that its words are known to the tokenizer. */
const instruction: Prose = (random) => {
  const text = random
    .sample(things, 1 + random.integer(4))
    .map((t) => t.name)
    .join(', ');
  return random.uniform() < 0.7
    ? alpacaPrompt({ instruction: random.pick(['Repeat the words.', 'Copy the list.']), input: text }) + text
    : `${alpacaPrompt({ instruction: `Say ${text}.`, input: '' })}${text}`;
};

/** Every kind of story. */
export const storyProse: readonly Prose[] = [
  moving,
  standing,
  standing,
  shopping,
  shopping,
  finding,
  answering,
  answering,
  instruction,
];
