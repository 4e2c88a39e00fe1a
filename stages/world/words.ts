/** The words of the small world: opposites, verbs in present and past, numbers, days and months. */

/** Pairs of opposites; each word is in one pair. */
export const opposites: readonly (readonly [string, string])[] = [
  ['hot', 'cold'],
  ['up', 'down'],
  ['open', 'closed'],
  ['fast', 'slow'],
  ['happy', 'sad'],
  ['light', 'dark'],
  ['old', 'new'],
  ['big', 'small'],
  ['long', 'short'],
  ['wet', 'dry'],
  ['full', 'empty'],
  ['loud', 'quiet'],
  ['early', 'late'],
  ['hard', 'soft'],
  ['clean', 'dirty'],
  ['near', 'far'],
  ['strong', 'weak'],
  ['high', 'low'],
  ['left', 'right'],
  ['day', 'night'],
  ['first', 'last'],
  ['rich', 'poor'],
  ['sweet', 'sour'],
  ['thick', 'thin'],
  ['wide', 'narrow'],
  ['deep', 'shallow'],
  ['rough', 'smooth'],
  ['true', 'false'],
  ['warm', 'cool'],
  ['brave', 'afraid'],
  ['tidy', 'messy'],
  ['round', 'square'],
  ['cheap', 'costly'],
  ['calm', 'stormy'],
];

export interface Verb {
  /** Third person singular, present: `runs`. */
  readonly present: string;
  readonly past: string;
  readonly base: string;
}

/** Verbs of movement and rest, followed by `in the PLACE`. */
export const verbs: readonly Verb[] = (
  [
    ['run', 'runs', 'ran'],
    ['sleep', 'sleeps', 'slept'],
    ['sit', 'sits', 'sat'],
    ['stand', 'stands', 'stood'],
    ['wait', 'waits', 'waited'],
    ['play', 'plays', 'played'],
    ['sing', 'sings', 'sang'],
    ['eat', 'eats', 'ate'],
    ['drink', 'drinks', 'drank'],
    ['work', 'works', 'worked'],
    ['walk', 'walks', 'walked'],
    ['jump', 'jumps', 'jumped'],
    ['hide', 'hides', 'hid'],
    ['rest', 'rests', 'rested'],
    ['swim', 'swims', 'swam'],
    ['fall', 'falls', 'fell'],
    ['dance', 'dances', 'danced'],
    ['climb', 'climbs', 'climbed'],
    ['laugh', 'laughs', 'laughed'],
    ['read', 'reads', 'read'],
    ['cook', 'cooks', 'cooked'],
    ['dig', 'digs', 'dug'],
    ['draw', 'draws', 'drew'],
    ['listen', 'listens', 'listened'],
    ['shout', 'shouts', 'shouted'],
    ['knit', 'knits', 'knitted'],
  ] as const
).map(([base, present, past]) => ({ base, present, past }));

export const days = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'] as const;

export const months = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
] as const;

/** The words for 0 to 20. */
export const numberWords = [
  'zero',
  'one',
  'two',
  'three',
  'four',
  'five',
  'six',
  'seven',
  'eight',
  'nine',
  'ten',
  'eleven',
  'twelve',
  'thirteen',
  'fourteen',
  'fifteen',
  'sixteen',
  'seventeen',
  'eighteen',
  'nineteen',
  'twenty',
] as const;

/** The word with a capital letter at its start. */
export function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** `a, b and c`. */
export function joined(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}
