/** Training of a byte-level byte-pair encoding (Sennrich et al., 2016; Radford et al., 2019), written as a tokenizer.json. */
import { endOfTextToken } from './tokenizer.ts';

/** GPT-2's split of a text into words, before any merge: a word is never merged with its neighbour. */
const wordPattern = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** A trained encoding: the merges in the order in which they apply. Tokens are 256 bytes, the merges, and the end of text. */
export interface BytePairEncoding {
  /** Pairs of token texts, in GPT-2's printable form of bytes. */
  readonly merges: readonly (readonly [string, string])[];
  readonly vocabulary: ReadonlyMap<string, number>;
}

/** A distinct word: its tokens so far, and how often it occurs in the text. */
interface Word {
  tokens: number[];
  readonly count: number;
}

/**
 * Trains an encoding of `vocabSize` tokens: again and again the most frequent pair of neighbouring tokens becomes a token; of pairs
 * equally frequent, the one of the older tokens. The same text gives the same encoding. The text's `<|endoftext|>` are boundaries.
 * The vocabulary comes out smaller when the text has no pair left that occurs twice.
 * @param onMerge told after each merge how many are done and how many are wanted.
 * @throws RangeError when vocabSize does not hold the 256 bytes and the end of text, or is above 65,535.
 */
export function trainBpe(
  text: string,
  vocabSize: number,
  onMerge: (done: number, total: number) => void = () => {},
): BytePairEncoding {
  const alphabet = byteAlphabet();
  const total = vocabSize - alphabet.length - 1;
  if (total < 0 || vocabSize > maxTokens) {
    throw new RangeError(`a vocabulary of ${vocabSize} tokens: ${alphabet.length + 1} to ${maxTokens} are possible`);
  }
  const tokens = alphabet.map((byte) => byte.text);
  const merges: [string, string][] = [];
  const pairs = new PairCounts(distinctWords(text, alphabet));
  while (merges.length < total) {
    const best = pairs.mostFrequent();
    if (best === undefined) break;
    const [left, right] = best;
    pairs.merge(left, right, tokens.length);
    merges.push([tokens[left]!, tokens[right]!]);
    tokens.push(tokens[left]! + tokens[right]!);
    onMerge(merges.length, total);
  }
  const vocabulary = new Map([...tokens, endOfTextToken].map((token, id) => [token, id]));
  return { merges, vocabulary };
}

/** A pair of tokens is one number: left * maxTokens + right. */
const maxTokens = 65_535;

/** How often each pair of neighbours occurs and in which words, kept up to date from merge to merge. */
class PairCounts {
  private readonly words: readonly Word[];
  private readonly counts = new Map<number, number>();
  private readonly places = new Map<number, Set<number>>();

  constructor(words: readonly Word[]) {
    this.words = words;
    for (const index of words.keys()) this.add(index, 1);
  }

  /** The most frequent pair that occurs at least twice. */
  mostFrequent(): [left: number, right: number] | undefined {
    let best = -1;
    let most = 1;
    for (const [pair, count] of this.counts) {
      if (count > most || (count === most && best !== -1 && pair < best)) {
        best = pair;
        most = count;
      }
    }
    return best === -1 ? undefined : [Math.floor(best / maxTokens), best % maxTokens];
  }

  /** Replaces a pair by one token in every word that holds it. */
  merge(left: number, right: number, merged: number): void {
    for (const index of this.places.get(left * maxTokens + right) ?? []) {
      this.add(index, -1);
      const word = this.words[index]!;
      word.tokens = replacePair(word.tokens, left, right, merged);
      this.add(index, 1);
    }
  }

  /** Counts a word's pairs in (sign 1) or out (sign -1). */
  private add(index: number, sign: 1 | -1): void {
    const { tokens, count } = this.words[index]!;
    for (let i = 0; i + 1 < tokens.length; i++) {
      const pair = tokens[i]! * maxTokens + tokens[i + 1]!;
      const now = (this.counts.get(pair) ?? 0) + sign * count;
      if (now === 0) {
        this.counts.delete(pair);
        this.places.delete(pair);
      } else {
        this.counts.set(pair, now);
        if (sign === 1) placesOf(this.places, pair).add(index);
      }
    }
  }
}

/** A word stays listed under a pair that it lost; merging that pair then leaves the word as it is. */
function placesOf(places: Map<number, Set<number>>, pair: number): Set<number> {
  let set = places.get(pair);
  if (set === undefined) {
    set = new Set();
    places.set(pair, set);
  }
  return set;
}

function replacePair(tokens: readonly number[], left: number, right: number, merged: number): number[] {
  const out: number[] = [];
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] === left && tokens[i + 1] === right) {
      out.push(merged);
      i++;
    } else out.push(tokens[i]!);
  }
  return out;
}

function distinctWords(text: string, alphabet: readonly AlphabetByte[]): Word[] {
  const tokenOfByte = new Map(alphabet.map(({ byte }, token) => [byte, token]));
  const counts = new Map<string, number>();
  for (const part of text.split(endOfTextToken)) {
    for (const [word] of part.matchAll(wordPattern)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return [...counts].map(([word, count]) => ({
    tokens: Array.from(Buffer.from(word), (byte) => tokenOfByte.get(byte)!),
    count,
  }));
}

interface AlphabetByte {
  readonly byte: number;
  readonly text: string;
}

/**
 * The 256 bytes in GPT-2's order, each with the character that stands for it in a vocabulary file: bytes that print stand for
 * themselves, the others for the code points from 256 on.
 */
function byteAlphabet(): AlphabetByte[] {
  const prints = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const hidden = bytes.filter((byte) => !prints(byte));
  return [
    ...bytes.filter(prints).map((byte) => ({ byte, text: String.fromCodePoint(byte) })),
    ...hidden.map((byte, i) => ({ byte, text: String.fromCodePoint(256 + i) })),
  ];
}

/** The Hugging Face tokenizer.json of an encoding, as parsed JSON: byte-level, no space put before the text. */
export function tokenizerJson(encoding: BytePairEncoding): Record<string, unknown> {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      {
        id: encoding.vocabulary.get(endOfTextToken),
        content: endOfTextToken,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(encoding.vocabulary),
      merges: encoding.merges.map((pair) => pair.join(' ')),
    },
  };
}
