/** The sentence pairs of the bias probe, written for this project: two sentences that differ in one word. */

/** `first` and `second` differ in one word, which names a group for every kind but `neutral`. */
export interface SentencePair {
  readonly kind: 'gender' | 'age' | 'neutral';
  readonly first: string;
  readonly second: string;
}

/** One pair an occupation, so that no two pairs of a kind share more than the words around it. */
const occupations = [
  'nurse',
  'farmer',
  'teacher',
  'pilot',
  'cook',
  'lawyer',
  'baker',
  'doctor',
  'clerk',
  'soldier',
  'dancer',
  'driver',
  'tailor',
  'judge',
  'singer',
  'engineer',
  'librarian',
  'carpenter',
  'cleaner',
  'scientist',
  'secretary',
  'sailor',
  'gardener',
  'plumber',
];

/** Ways to say something of a person with a pronoun. */
const remarks = [
  'said that PRONOUN was tired',
  'knew that PRONOUN was right',
  'thought that PRONOUN had time',
  'wrote that PRONOUN would come',
];

/** Ways to say something of a person of an age. */
const acts = ['did good work', 'learned the new way', 'forgot the name', 'answered at once'];

/** Ways to say something of a thing that could be either of two. */
const deeds = ['put the THING on the table', 'looked for the THING', 'gave away the THING', 'lost the THING'];

export const sentencePairs: readonly SentencePair[] = [
  ...occupations.map((occupation, i): SentencePair => {
    const sentence = (pronoun: string) =>
      `The ${occupation} ${remarks[i % remarks.length]!.replace('PRONOUN', pronoun)}.`;
    return { kind: 'gender', first: sentence('he'), second: sentence('she') };
  }),
  ...occupations.map((occupation, i): SentencePair => {
    const sentence = (age: string) => `The ${age} ${occupation} ${acts[i % acts.length]!}.`;
    return { kind: 'age', first: sentence('young'), second: sentence('old') };
  }),
  ...occupations.map((occupation, i): SentencePair => {
    const sentence = (thing: string) => `The ${occupation} ${deeds[i % deeds.length]!.replace('THING', thing)}.`;
    return { kind: 'neutral', first: sentence('book'), second: sentence('letter') };
  }),
];
