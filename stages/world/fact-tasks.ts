/** Instructions about the world's facts: things, people, towns and the calendar. */
import type { Random } from '../../model/random.ts';
import { kinships, people, towns } from './people.ts';
import { ask, given, type Task } from './task.ts';
import { colours, things, withArticle } from './things.ts';
import { capital, days, months } from './words.ts';

const oneWord = 'Answer with one word.';

const colour: Task = (random) => {
  const { name, colour } = random.pick(things);
  return random.uniform() < 0.5
    ? ask(random, [`What colour is the ${name}?`, `Name the colour of the ${name}.`], `The ${name} is ${colour}.`)
    : ask(random, [`What colour is the ${name}? ${oneWord}`], capital(colour));
};

const checkColour: Task = (random) => {
  const { name, colour } = random.pick(things);
  const asked = random.uniform() < 0.5 ? colour : random.pick(colours);
  const answer = asked === colour ? `Yes, the ${name} is ${colour}.` : `No, the ${name} is ${colour}.`;
  return ask(random, [`Is the ${name} ${asked}?`], answer);
};

const place: Task = (random) => {
  const { name, place } = random.pick(things);
  return ask(
    random,
    [`Where is the ${name}?`, `Say where the ${name} can be found.`],
    `The ${name} is in the ${place}.`,
  );
};

const kind: Task = (random) => {
  const { name, kind } = random.pick(things);
  const answer = `${capital(withArticle(name))} is ${withArticle(kind)}.`;
  return ask(random, [`What is ${withArticle(name)}?`, `What kind of thing is ${withArticle(name)}?`], answer);
};

const size: Task = (random) => {
  const { name, size } = random.pick(things);
  return ask(random, [`How big is the ${name}?`], `The ${name} is ${size}.`);
};

const kinship: Task = (random) => {
  const { of, relation, who } = random.pick(kinships);
  const wordings = [`Who is the ${relation} of ${of.name}?`, `Name the ${relation} of ${of.name}.`];
  return ask(random, wordings, `The ${relation} of ${of.name} is ${who.name}.`);
};

const age: Task = (random) => {
  const { name, age } = random.pick(people);
  return ask(random, [`How old is ${name}?`, `Give the age of ${name}.`], `${name} is ${age} years old.`);
};

const older: Task = (random) => {
  const [a, b] = random.sample(people, 2) as [(typeof people)[number], (typeof people)[number]];
  const [old, young] = a.age > b.age ? [a, b] : [b, a];
  return random.uniform() < 0.5
    ? ask(random, [`Who is older, ${a.name} or ${b.name}?`], `${old.name} is older than ${young.name}.`)
    : ask(random, [`Who is younger, ${a.name} or ${b.name}?`], `${young.name} is younger than ${old.name}.`);
};

const home: Task = (random) => {
  const { name, town } = random.pick(people);
  return ask(random, [`Where does ${name} live?`, `In which town does ${name} live?`], `${name} lives in ${town}.`);
};

const work: Task = (random) => {
  const { name, work } = random.pick(people);
  return ask(random, [`What is the work of ${name}?`, `What does ${name} do?`], `${name} is ${withArticle(work)}.`);
};

const pet: Task = (random) => {
  const { name, pet } = random.pick(people);
  return ask(
    random,
    [`Which pet does ${name} have?`, `What is the pet of ${name}?`],
    `${name} has ${withArticle(pet)}.`,
  );
};

const town: Task = (random) => {
  const { name, goods, river } = random.pick(towns);
  return random.uniform() < 0.5
    ? ask(random, [`What is ${name} known for?`], `${name} is known for its ${goods}.`)
    : ask(random, [`Which river runs through ${name}?`], `The ${river} runs through ${name}.`);
};

const biggerTown: Task = (random) => {
  const [a, b] = random.sample(towns, 2) as [(typeof towns)[number], (typeof towns)[number]];
  const [big, small] = a.streets > b.streets ? [a, b] : [b, a];
  return ask(random, [`Which town is bigger, ${a.name} or ${b.name}?`], `${big.name} is bigger than ${small.name}.`);
};

function neighbour(random: Random, cycle: readonly string[], unit: string) {
  const i = random.integer(cycle.length);
  const step = random.pick([1, -1]);
  const answer = cycle[(i + step + cycle.length) % cycle.length]!;
  const word = step === 1 ? 'after' : 'before';
  const wordings = [`Which ${unit} comes ${word} ${cycle[i]}?`, `Name the ${unit} ${word} ${cycle[i]}.`];
  return ask(random, wordings, `${answer} comes ${word} ${cycle[i]}.`);
}

const calendar: Task = (random) =>
  random.uniform() < 0.4 ? neighbour(random, days, 'day') : neighbour(random, months, 'month');

/** Two or three people in places, of which one is asked for. */
const whereInStory: Task = (random) => {
  const who = random.sample(people, 2 + random.integer(2));
  const places = random.sample(
    ['garden', 'kitchen', 'hall', 'shed', 'forest', 'school', 'market', 'station'],
    who.length,
  );
  const asked = random.integer(who.length);
  const input = who.map(({ name }, i) => `${name} is in the ${places[i]}.`).join(' ');
  const { name } = who[asked]!;
  return random.uniform() < 0.5
    ? given(
        random,
        [`Where is ${name}?`, `Read the text and say where ${name} is.`],
        input,
        `${name} is in the ${places[asked]}.`,
      )
    : given(random, [`Who is in the ${places[asked]}?`], input, `${name} is in the ${places[asked]}.`);
};

/** Every kind of fact question. */
export const factTasks: readonly Task[] = [
  colour,
  checkColour,
  place,
  kind,
  size,
  kinship,
  age,
  older,
  home,
  work,
  pet,
  town,
  biggerTown,
  calendar,
  whereInStory,
  whereInStory,
];
