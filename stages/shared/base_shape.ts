/** The shape of a base in a few words, by which tables tell models of different sizes apart. */
import type { Gpt2Config } from '../../model/config.ts';

/** `24 layers x 1024, vocabulary 50257`. Equal texts do not prove equal weights; other texts prove other models. */
export function shapeText({ layers, width, vocabSize }: Pick<Gpt2Config, 'layers' | 'width' | 'vocabSize'>): string {
  return `${layers} layers x ${width}, vocabulary ${vocabSize}`;
}
