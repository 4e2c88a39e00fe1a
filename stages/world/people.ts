/** The people of the small world: four families, their ages, towns, work and pets; and the towns. */

export interface Person {
  readonly name: string;
  readonly female: boolean;
  readonly age: number;
  readonly town: string;
  readonly work: string;
  readonly pet: string;
  readonly mother: string | null;
  readonly father: string | null;
}

export interface Town {
  readonly name: string;
  /** Number of streets; no two towns have the same. */
  readonly streets: number;
  /** What the town is known for: the plural of a thing. */
  readonly goods: string;
  readonly river: string;
}

export const towns: readonly Town[] = [
  { name: 'Ashford', streets: 12, goods: 'apples', river: 'Lune' },
  { name: 'Millbrook', streets: 30, goods: 'boats', river: 'Dane' },
  { name: 'Stonehill', streets: 7, goods: 'hammers', river: 'Lune' },
  { name: 'Westlake', streets: 45, goods: 'drums', river: 'Orrin' },
  { name: 'Redfield', streets: 18, goods: 'pumpkins', river: 'Dane' },
  { name: 'Oakton', streets: 24, goods: 'shoes', river: 'Orrin' },
];

/** name, age, work, pet; a family is grandmother, grandfather, their daughter, her husband, and the couple's two children. */
type Row = readonly [string, number, string, string];

/** The third and fourth of each family are the parents; the sexes go female, male, female, male, female, male. */
const families: readonly { readonly town: string; readonly rows: readonly Row[] }[] = [
  {
    town: 'Ashford',
    rows: [
      ['Ada', 71, 'teacher', 'cat'],
      ['Tom', 74, 'farmer', 'horse'],
      ['Nina', 43, 'doctor', 'dog'],
      ['Paul', 46, 'baker', 'dog'],
      ['Lucy', 12, 'pupil', 'mouse'],
      ['Ben', 9, 'pupil', 'frog'],
    ],
  },
  {
    town: 'Millbrook',
    rows: [
      ['Ruth', 68, 'singer', 'owl'],
      ['Karl', 70, 'sailor', 'duck'],
      ['Mary', 39, 'cook', 'cat'],
      ['Hugo', 41, 'painter', 'goose'],
      ['Anna', 15, 'pupil', 'cat'],
      ['Max', 7, 'pupil', 'duck'],
    ],
  },
  {
    town: 'Westlake',
    rows: [
      ['Jane', 66, 'writer', 'dog'],
      ['Fred', 69, 'driver', 'cat'],
      ['Sara', 36, 'farmer', 'cow'],
      ['Leo', 38, 'teacher', 'owl'],
      ['Emma', 10, 'pupil', 'horse'],
      ['Sam', 5, 'pupil', 'mouse'],
    ],
  },
  {
    town: 'Oakton',
    rows: [
      ['Olga', 75, 'baker', 'goose'],
      ['Adam', 77, 'doctor', 'dog'],
      ['Clara', 48, 'painter', 'swan'],
      ['Peter', 50, 'sailor', 'cat'],
      ['Kate', 18, 'pupil', 'fox'],
      ['Jack', 14, 'pupil', 'dog'],
    ],
  },
];

/** Everybody, family by family. */
export const people: readonly Person[] = families.flatMap(({ town, rows }) => {
  const [grandmother, grandfather, mother, father] = rows.map(([name]) => name) as [string, string, string, string];
  return rows.map(([name, age, work, pet], i) => ({
    name,
    female: i % 2 === 0,
    age,
    town,
    work,
    pet,
    mother: i === 2 ? grandmother : i > 3 ? mother : null,
    father: i === 2 ? grandfather : i > 3 ? father : null,
  }));
});

/** A relation between two people, as `the RELATION of NAME`. */
export const relations = [
  'mother',
  'father',
  'sister',
  'brother',
  'daughter',
  'son',
  'grandmother',
  'grandfather',
] as const;
export type Relation = (typeof relations)[number];

/** Who stands in a relation to a person, or null; nobody has two of one relation. */
export function relative(person: Person, relation: Relation): Person | null {
  return people.find((other) => isRelative(other, relation, person)) ?? null;
}

function isRelative(other: Person, relation: Relation, person: Person): boolean {
  const parents = [person.mother, person.father];
  switch (relation) {
    case 'mother':
    case 'father':
      return other.name === person[relation];
    case 'sister':
    case 'brother':
      return (
        other !== person &&
        other.mother !== null &&
        other.mother === person.mother &&
        other.female === (relation === 'sister')
      );
    case 'daughter':
    case 'son':
      return [other.mother, other.father].includes(person.name) && other.female === (relation === 'daughter');
    case 'grandmother':
    case 'grandfather': {
      const role = relation === 'grandmother' ? 'mother' : 'father';
      return people.some((parent) => parents.includes(parent.name) && parent[role] === other.name);
    }
  }
}

/** Every true statement `X is the RELATION of Y`. */
export const kinships: readonly { readonly of: Person; readonly relation: Relation; readonly who: Person }[] =
  people.flatMap((of) =>
    relations.flatMap((relation) => {
      const who = relative(of, relation);
      return who === null ? [] : [{ of, relation, who }];
    }),
  );
