/** The generated instructions: every answer is worked out again from the wording of the instruction, by code that shares nothing with the generator but the world's facts. */
import { describe, expect, test } from 'vitest';
import { corpusDocuments, instructionRecords } from '../stages/world/generate.ts';
import { kinships, people, towns } from '../stages/world/people.ts';
import type { InstructionRecord } from '../stages/world/task.ts';
import { kinds, things } from '../stages/world/things.ts';
import { days, months, numberWords, opposites, verbs } from '../stages/world/words.ts';

/** Answers an instruction of a given form; the groups are those of the form's expression. */
type Solver = (groups: string[], input: string) => string;

const thing = (name: string) => things.find((t) => t.name === name)!;
const person = (name: string) => people.find((p) => p.name === name)!;
const town = (name: string) => towns.find((t) => t.name === name)!;
const list = (input: string) => input.split(', ');
const a = (noun: string) => (/^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`);
const upper = (word: string) => word[0]!.toUpperCase() + word.slice(1);
const other = (word: string) => opposites.flatMap(([x, y]) => (x === word ? [y] : y === word ? [x] : []))[0]!;
const amount = (n: number, plural: string) =>
  `${n} ${n === 1 ? things.find((t) => t.plural === plural)!.name : plural}`;

function near(unit: string, word: string, name: string): string {
  const cycle: readonly string[] = unit === 'day' ? days : months;
  const i = cycle.indexOf(name) + (word === 'after' ? 1 : cycle.length - 1);
  return `${cycle[i % cycle.length]} comes ${word} ${name}.`;
}

function tense(input: string, from: 'present' | 'past', to: 'present' | 'past'): string {
  const [, who, verb, rest] = /^(\w+|The \w+) (\w+) (in the \w+\.)$/.exec(input)!;
  return `${who} ${verbs.find((v) => v[from] === verb)![to]} ${rest}`;
}

function calculate(input: string): string {
  const [x, operator, y] = input.split(' ') as [string, string, string];
  return `${operator === '+' ? Number(x) + Number(y) : operator === '-' ? Number(x) - Number(y) : Number(x) * Number(y)}`;
}

const solvers: readonly (readonly [RegExp, Solver])[] = [
  [/^What colour is the (\w+)\? Answer with one word\.$/, ([t]) => upper(thing(t!).colour)],
  [/^(?:What colour is the|Name the colour of the) (\w+)[?.]$/, ([t]) => `The ${t} is ${thing(t!).colour}.`],
  [/^Is the (\w+) (\w+)\?$/, ([t, c]) => `${thing(t!).colour === c ? 'Yes' : 'No'}, the ${t} is ${thing(t!).colour}.`],
  [
    /^(?:Where is the (\w+)\?|Say where the (\w+) can be found\.)$/,
    ([x, y]) => `The ${x ?? y} is in the ${thing((x ?? y)!).place}.`,
  ],
  [/^What (?:is|kind of thing is) an? (\w+)\?$/, ([t]) => `${upper(a(t!))} is ${a(thing(t!).kind)}.`],
  [/^How big is the (\w+)\?$/, ([t]) => `The ${t} is ${thing(t!).size}.`],
  [
    /^(?:Who is|Name) the (mother|father|sister|brother|daughter|son|grandmother|grandfather) of (\w+)[?.]$/,
    ([r, n]) => `The ${r} of ${n} is ${kinships.find((k) => k.relation === r && k.of.name === n)!.who.name}.`,
  ],
  [/^(?:How old is|Give the age of) (\w+)[?.]$/, ([n]) => `${n} is ${person(n!).age} years old.`],
  [
    /^Who is (older|younger), (\w+) or (\w+)\?$/,
    ([word, x, y]) => {
      const [old, young] = person(x!).age > person(y!).age ? [x, y] : [y, x];
      return word === 'older' ? `${old} is older than ${young}.` : `${young} is younger than ${old}.`;
    },
  ],
  [/^(?:Where|In which town) does (\w+) live\?$/, ([n]) => `${n} lives in ${person(n!).town}.`],
  [/^What (?:is the work of (\w+)|does (\w+) do)\?$/, ([x, y]) => `${x ?? y} is ${a(person((x ?? y)!).work)}.`],
  [
    /^(?:Which pet does (\w+) have|What is the pet of (\w+))\?$/,
    ([x, y]) => `${x ?? y} has ${a(person((x ?? y)!).pet)}.`,
  ],
  [/^What is (\w+) known for\?$/, ([t]) => `${t} is known for its ${town(t!).goods}.`],
  [/^Which river runs through (\w+)\?$/, ([t]) => `The ${town(t!).river} runs through ${t}.`],
  [
    /^Which town is bigger, (\w+) or (\w+)\?$/,
    ([x, y]) => (town(x!).streets > town(y!).streets ? `${x} is bigger than ${y}.` : `${y} is bigger than ${x}.`),
  ],
  [
    /^(?:Which|Name the) (day|month) (?:comes )?(after|before) (\w+)[?.]$/,
    ([unit, word, name]) => near(unit!, word!, name!),
  ],
  [
    /^(?:Where is|Read the text and say where) ([A-Z]\w+)(?: is)?[?.]$/,
    ([n], input) => input.split(/(?<=\.) /).find((s) => s.startsWith(`${n} `))!,
  ],
  [/^Who is in the (\w+)\?$/, ([p], input) => input.split(/(?<=\.) /).find((s) => s.endsWith(` ${p}.`))!],
  [/^(?:Reverse the list|Write the words in reverse order)\.$/, (_, input) => list(input).reverse().join(', ')],
  [
    /^(?:Sort the words|Put the words in alphabetical order)\.$/,
    (_, input) =>
      list(input)
        .sort((x, y) => x.localeCompare(y, 'en'))
        .join(', '),
  ],
  [/^(?:Give the first word of the list\.|What is the first word\?)$/, (_, input) => /^\w+/.exec(input)![0]],
  [/^(?:Give the last word of the list\.|What is the last word\?)$/, (_, input) => /\w+$/.exec(input)![0]],
  [
    /^(?:Count the words in the list\.|How many words are in the list\?)$/,
    (_, input) => `There are ${input.match(/\w+/g)!.length} words.`,
  ],
  [
    /^(?:How many times does (\w+) occur\?|Count the word (\w+)\.)$/,
    ([x, y], input) => `${input.match(new RegExp(`\\b${x ?? y}\\b`, 'g'))!.length}`,
  ],
  [
    /^(?:Which word is|Find) an? (\w+)(?: in the list)?[?.]$/,
    ([kind], input) => {
      const found = list(input).filter((word) => thing(word).kind === kind);
      expect(found).toHaveLength(1);
      return found[0]!;
    },
  ],
  [
    /^(?:Which word does not belong\?|Find the odd one out\.)$/,
    (_, input) => {
      const of = list(input).map((word) => thing(word).kind);
      const odd = of.findIndex((kind) => of.indexOf(kind) === of.lastIndexOf(kind));
      expect(new Set(of).size).toBe(2);
      return `${list(input)[odd]} is not ${a(of.find((kind) => kind !== of[odd])!)}.`;
    },
  ],
  [
    /^(?:Join the words with and|Write the list with and before the last word)\.$/,
    (_, input) => input.replace(/, (\w+)$/, ' and $1'),
  ],
  [
    /^(?:Remove (\w+) from the list|Write the list without (\w+))\.$/,
    ([x, y], input) => {
      const words = list(input);
      words.splice(words.indexOf((x ?? y)!), 1);
      return words.join(', ');
    },
  ],
  [/^Add (\w+) at the end of the list\.$/, ([word], input) => `${input}, ${word}`],
  [
    /^(?:Find the|Which number is the) biggest(?: number)?[.?]$/,
    (_, input) =>
      `${
        list(input)
          .map(Number)
          .sort((x, y) => y - x)[0]
      }`,
  ],
  [
    /^(?:Find the|Which number is the) smallest(?: number)?[.?]$/,
    (_, input) =>
      `${
        list(input)
          .map(Number)
          .sort((x, y) => x - y)[0]
      }`,
  ],
  [
    /^(?:Sort the numbers|Put the numbers in order, the smallest first)\.$/,
    (_, input) =>
      list(input)
        .map(Number)
        .sort((x, y) => x - y)
        .join(', '),
  ],
  [
    /^(?:What is (\d+) plus (\d+)\?|Add (\d+) and (\d+)\.)$/,
    ([x, y, u, v]) => `${x ?? u} plus ${y ?? v} is ${Number(x ?? u) + Number(y ?? v)}.`,
  ],
  [/^(?:What is (\d+) minus (\d+)\?)$/, ([x, y]) => `${x} minus ${y} is ${Number(x) - Number(y)}.`],
  [/^Take (\d+) from (\d+)\.$/, ([y, x]) => `${x} minus ${y} is ${Number(x) - Number(y)}.`],
  [
    /^(?:What is (\d+) times (\d+)\?|Multiply (\d+) by (\d+)\.)$/,
    ([x, y, u, v]) => `${x ?? u} times ${y ?? v} is ${Number(x ?? u) * Number(y ?? v)}.`,
  ],
  [/^(?:Work out the (?:sum|difference|product)|Calculate)\.$/, (_, input) => calculate(input)],
  [
    /^(?:What is the double of (\d+)\?|Double (\d+)\.)$/,
    ([x, y]) => `The double of ${x ?? y} is ${2 * Number(x ?? y)}.`,
  ],
  [/^(?:What is half of (\d+)\?|Halve (\d+)\.)$/, ([x, y]) => `Half of ${x ?? y} is ${Number(x ?? y) / 2}.`],
  [
    /^Which number comes (after|before) (\d+)\?$/,
    ([word, x]) => `${Number(x) + (word === 'after' ? 1 : -1)} comes ${word} ${x}.`,
  ],
  [
    /^Which is bigger, (\d+) or (\d+)\?$/,
    ([x, y]) => `${Math.max(Number(x), Number(y))} is bigger than ${Math.min(Number(x), Number(y))}.`,
  ],
  [/^(?:Is|Say whether) (\d+) (?:is )?even or odd[?.]$/, ([x]) => `${x} is ${/[02468]$/.test(x!) ? 'even' : 'odd'}.`],
  [/^Write (\d+) as a word\.$/, ([x]) => numberWords[Number(x)]!],
  [/^Write (\w+) as a number\.$/, ([x]) => `${(numberWords as readonly string[]).indexOf(x!)}`],
  [
    /^How many (\w+) does (\w+) have now\?$/,
    ([plural, name], input) => {
      const [x, y] = input.match(/\d+/g)!.map(Number) as [number, number];
      expect(input.startsWith(`${name} has ${amount(x, plural!)} and `)).toBe(true);
      return `${name} has ${amount(input.includes('buys') ? x + y : x - y, plural!)}.`;
    },
  ],
  [/^What is the opposite of (\w+)\?$/, ([word]) => `The opposite of ${word} is ${other(word!)}.`],
  [/^(?:Give the opposite of the word|Write the opposite)\.$/, (_, input) => other(input)],
  [/^What is the plural of (\w+)\?$/, ([word]) => `The plural of ${word} is ${thing(word!).plural}.`],
  [/^Write the plural of the word\.$/, (_, input) => thing(input).plural],
  [/^(?:What is the first letter of (\w+)|With which letter does (\w+) begin)\?$/, ([x, y]) => (x ?? y)!.slice(0, 1)],
  [/^(?:What is the last letter of (\w+)|With which letter does (\w+) end)\?$/, ([x, y]) => (x ?? y)!.slice(-1)],
  [/^(?:How many letters does (\w+) have\?|Count the letters of (\w+)\.)$/, ([x, y]) => `${(x ?? y)!.length}`],
  [/^Spell (?:the word )?(\w+)\.$/, ([word]) => word!.replace(/\B/g, '-')],
  [
    /^(?:Rewrite the sentence in the past tense|Put the sentence in the past)\.$/,
    (_, input) => tense(input, 'present', 'past'),
  ],
  [
    /^(?:Rewrite the sentence in the present tense|Put the sentence in the present)\.$/,
    (_, input) => tense(input, 'past', 'present'),
  ],
  [
    /^(?:What is|Give) the past tense of (\w+)[?.]$/,
    ([base]) => `The past tense of ${base} is ${verbs.find((v) => v.base === base)!.past}.`,
  ],
  [
    /^(?:Turn the sentence into a question|Rewrite the sentence as a question)\.$/,
    (_, input) => input.replace(/^The (\w+) is (\w+)\.$/, 'Is the $1 $2?'),
  ],
  [/^(?:Make the sentence negative|Rewrite the sentence with not)\.$/, (_, input) => input.replace(' is ', ' is not ')],
  [/^Replace (\w+) with (\w+)\.$/, ([x, y], input) => input.replace(x!, y!)],
  [/^Write (\w+) instead of (\w+)\.$/, ([y, x], input) => input.replace(x!, y!)],
  [
    /^(?:Swap the two things|Name the two things the other way round)\.$/,
    (_, input) => input.replace(/^The (\w+) and the (\w+)$/, 'The $2 and the $1'),
  ],
  [
    /^(?:Rewrite the sentence with the opposite|Say the opposite)\.$/,
    (_, input) => input.replace(/ (\w+)\.$/, (_all, word: string) => ` ${other(word)}.`),
  ],
];

function solve({ instruction, input }: InstructionRecord): string {
  const found = solvers.flatMap(([form, solver]) => {
    const match = form.exec(instruction);
    return match === null ? [] : [solver(match.slice(1), input)];
  });
  expect(found, instruction).toHaveLength(1);
  return found[0]!;
}

describe('instructions', () => {
  const records = [1, 2, 42].flatMap((seed) => instructionRecords(seed, 4000));

  test('every answer follows from the instruction', () => {
    for (const record of records) expect(solve(record), `${record.instruction} | ${record.input}`).toBe(record.output);
  });

  test('every form of instruction occurs, and records within a set are distinct', () => {
    for (const [form] of solvers)
      expect(
        records.some(({ instruction }) => form.test(instruction)),
        String(form),
      ).toBe(true);
    const keys = instructionRecords(42, 4000).map(({ instruction, input }) => `${instruction}|${input}`);
    expect(new Set(keys).size).toBe(4000);
    const withInput = records.filter(({ input }) => input !== '').length / records.length;
    expect(withInput).toBeGreaterThan(0.3);
    expect(withInput).toBeLessThan(0.8);
  });
});

describe('the text', () => {
  test('holds answered instructions, none of which any instruction set holds', () => {
    const text = [...corpusDocuments(3, 1_000_000)].join('');
    const answered = text.matchAll(
      /### Instruction:\n(.+)\n\n(?:### Input:\n(.+)\n\n)?### Response:\n(.+)\n<\|endoftext\|>/g,
    );
    const records = Array.from(answered, ([, instruction, input = '', output]) => ({
      instruction,
      input,
      output,
    })).filter(({ instruction }) => !/^(Repeat|Copy|Say) /.test(instruction!));
    expect(records.length).toBeGreaterThan(300);
    const inSets = new Set(
      [1, 2, 42].flatMap((seed) => instructionRecords(seed, 4000)).map((r) => `${r.instruction}|${r.input}`),
    );
    for (const { instruction, input, output } of records) {
      expect(inSets.has(`${instruction}|${input}`)).toBe(false);
      expect(solve({ instruction: instruction!, input, output: output! })).toBe(output);
    }
  });
});

describe('the world', () => {
  test('names are unique, and ages, sizes of towns and opposites leave no tie', () => {
    const distinct = (values: readonly unknown[]) => expect(new Set(values).size).toBe(values.length);
    distinct(things.map((t) => t.name));
    distinct(people.map((p) => p.name));
    distinct(people.map((p) => p.age));
    distinct(towns.map((t) => t.streets));
    distinct(opposites.flat());
    distinct(verbs.flatMap((v) => [v.present, v.past]));
  });

  test('families hold together: parents are older, relations go both ways', () => {
    for (const { of, relation, who } of kinships) {
      if (relation === 'mother' || relation === 'father') {
        expect(who.age).toBeGreaterThan(of.age + 15);
        const back = of.female ? 'daughter' : 'son';
        expect(kinships.some((k) => k.of === who && k.relation === back && k.who === of)).toBe(true);
      }
      expect(['mother', 'sister', 'daughter', 'grandmother'].includes(relation)).toBe(who.female);
    }
    expect(kinships.find((k) => k.of.name === 'Lucy' && k.relation === 'grandmother')!.who.name).toBe('Ada');
  });

  test('the text states the facts of the world and no others', () => {
    const text = [...corpusDocuments(3, 1_200_000)].join('');
    let checked = 0;
    // Sentences in quotation marks are examples of rewriting, not statements.
    for (const [, name, said] of text.matchAll(/(?<!")The (\w+) is (\w+)\.(?!")/g)) {
      const known = thing(name!);
      expect([known.colour, known.size]).toContain(said);
      checked++;
    }
    for (const [, x, y, z] of text.matchAll(/(\d+) (?:\+|plus) (\d+) (?:=|is) (\d+)/g)) {
      expect(Number(x) + Number(y)).toBe(Number(z));
      checked++;
    }
    for (const [, name, age] of text.matchAll(/([A-Z]\w+) is (\d+) years old/g)) {
      expect(person(name!).age).toBe(Number(age));
      checked++;
    }
    for (const [, relation, of, who] of text.matchAll(/The (\w+) of ([A-Z]\w+) is ([A-Z]\w+)\./g)) {
      expect(kinships.some((k) => k.relation === relation && k.of.name === of && k.who.name === who)).toBe(true);
      checked++;
    }
    expect(checked).toBeGreaterThan(4000);
  });

  test('each kind has things, and every plural is its own', () => {
    for (const kind of Object.keys(kinds))
      expect(things.filter((t) => t.kind === kind).length).toBeGreaterThanOrEqual(7);
  });
});
