/** Plain prose about the world's facts: paragraphs on things, people, towns, kinds and the calendar. */
import type { Random } from '../../model/random.ts';
import { kinships, type Person, people, towns } from './people.ts';
import { colours, type Kind, kinds, places, things, thingsOf, withArticle } from './things.ts';
import { capital, days, joined, months } from './words.ts';

/** Makes one document of plain text. */
export type Prose = (random: Random) => string;

/** Some of the sentences, at least `least`, in random order. */
function some(random: Random, least: number, sentences: readonly string[]): string {
  return random.sample(sentences, least + random.integer(sentences.length - least + 1)).join(' ');
}

const thing: Prose = (random) => {
  const { name, plural, kind, colour, place, size } = random.pick(things);
  const opening = random.pick([
    `${capital(withArticle(name))} is ${withArticle(kind)}.`,
    `The ${name} is ${withArticle(kind)}.`,
    `${capital(plural)} are ${kinds[kind]}.`,
  ]);
  return `${opening} ${some(random, 3, [
    `The ${name} is ${colour}.`,
    `Its colour is ${colour}.`,
    `The ${name} is in the ${place}.`,
    `You can find the ${name} in the ${place}.`,
    `The ${name} is ${size}.`,
    `One ${name}, two ${plural}.`,
    `The plural of ${name} is ${plural}.`,
  ])}`;
};

const kind: Prose = (random) => {
  const chosen = random.pick(Object.keys(kinds) as Kind[]);
  const names = random.shuffle(thingsOf(chosen).map((t) => t.name));
  const part = names.slice(0, 3 + random.integer(3));
  const stranger = random.pick(things.filter((t) => t.kind !== chosen));
  return some(random, 1, [
    `These are ${kinds[chosen]}: ${part.join(', ')}.`,
    `${capital(joined(part.map(withArticle)))} are ${kinds[chosen]}.`,
    `In the list ${random.shuffle([...names.slice(0, 3), stranger.name]).join(', ')} the word ${stranger.name} does not belong: ${stranger.name} is not ${withArticle(chosen)}.`,
    `In the list ${random.shuffle([names[0], ...random.sample(thingsOf(stranger.kind), 2).map((t) => t.name)]).join(', ')} the word ${names[0]} is ${withArticle(chosen)}.`,
  ]);
};

const placeTour: Prose = (random) => {
  const place = random.pick(places);
  const here = random.shuffle(things.filter((t) => t.place === place)).slice(0, 4);
  return `In the ${place} there ${here.length === 1 ? 'is' : 'are'} ${joined(here.map((t) => withArticle(t.name)))}. ${here
    .map((t) => `The ${t.name} is ${t.colour}.`)
    .join(' ')}`;
};

const colourTour: Prose = (random) => {
  const colour = random.pick(colours);
  const these = random.shuffle(things.filter((t) => t.colour === colour)).slice(0, 4);
  const other = random.pick(things.filter((t) => t.colour !== colour));
  return `${these.map((t) => `The ${t.name} is ${colour}.`).join(' ')} The ${other.name} is not ${colour}, it is ${other.colour}.`;
};

const they = (person: Person) => (person.female ? 'She' : 'He');
const their = (person: Person) => (person.female ? 'Her' : 'His');

const person: Prose = (random) => {
  const who = random.pick(people);
  const family = kinships.filter(({ of }) => of === who);
  const other = random.pick(people.filter((p) => p !== who));
  return `${who.name} is ${who.age} years old. ${some(random, 3, [
    `${who.name} lives in ${who.town}.`,
    `${they(who)} is ${withArticle(who.work)}.`,
    `${who.name} is ${withArticle(who.work)} in ${who.town}.`,
    `${who.name} has ${withArticle(who.pet)}.`,
    `${their(who)} pet is ${withArticle(who.pet)}.`,
    `${who.name} is ${who.age > other.age ? 'older' : 'younger'} than ${other.name}.`,
    ...family.map(({ relation, who: kin }) => `The ${relation} of ${who.name} is ${kin.name}.`),
    ...family.map(({ relation, who: kin }) => `${kin.name} is the ${relation} of ${who.name}.`),
  ])}`;
};

const ages: Prose = (random) => {
  const inOrder = random.sample(people, 2 + random.integer(3)).sort((a, b) => b.age - a.age);
  const statements = inOrder
    .slice(1)
    .flatMap((young, i) => [
      `${inOrder[i]!.name} is older than ${young.name}.`,
      `${young.name} is younger than ${inOrder[i]!.name}.`,
    ]);
  return `${inOrder.map((p) => `${p.name} is ${p.age}.`).join(' ')} ${some(random, 1, statements)}`;
};

const family: Prose = (random) => {
  const { of, relation, who } = random.pick(kinships);
  return `${random.pick([`Who is the ${relation} of ${of.name}?`, `${of.name} lives in ${of.town}.`])} ${some(
    random,
    1,
    [
      `The ${relation} of ${of.name} is ${who.name}.`,
      `${who.name} is the ${relation} of ${of.name}.`,
      `${who.name} is ${who.age} years old and ${of.name} is ${of.age} years old.`,
    ],
  )}`;
};

const town: Prose = (random) => {
  const { name, streets, goods, river } = random.pick(towns);
  const other = random.pick(towns.filter((t) => t.name !== name));
  const living = random
    .sample(
      people.filter((p) => p.town === name),
      3,
    )
    .map((p) => p.name);
  return `${name} is a town. ${some(random, 2, [
    `The ${river} runs through ${name}.`,
    `${name} is known for its ${goods}.`,
    `${name} has ${streets} streets.`,
    `${name} is ${streets > other.streets ? 'bigger' : 'smaller'} than ${other.name}.`,
    streets > other.streets ? `${other.name} is smaller than ${name}.` : `${other.name} is bigger than ${name}.`,
    ...(living.length > 0 ? [`${joined(living)} live in ${name}.`] : []),
  ])}`;
};

const calendar: Prose = (random) => {
  const cycle: readonly string[] = random.uniform() < 0.4 ? days : months;
  const at = (i: number) => cycle[(i + cycle.length) % cycle.length]!;
  const i = random.integer(cycle.length);
  return some(random, 1, [
    `${at(i + 1)} comes after ${at(i)}.`,
    `${at(i - 1)} comes before ${at(i)}.`,
    `After ${at(i)} comes ${at(i + 1)}, and then ${at(i + 2)}.`,
    `${Array.from({ length: 4 }, (_, k) => at(i + k)).join(', ')}.`,
  ]);
};

/** Every kind of paragraph about facts. */
export const factProse: readonly Prose[] = [
  thing,
  thing,
  thing,
  kind,
  placeTour,
  colourTour,
  person,
  person,
  ages,
  family,
  town,
  calendar,
];
