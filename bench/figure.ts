/** What a benchmark finds: samples with their spread, what they are compared with, and the bar that they are held to. */

/** Units that figures come in, and whether more of them is better. */
const betterIs = { s: 'less', MB: 'less', 'GFLOP/s': 'more', 'GiB/s': 'more' } as const;
export type Unit = keyof typeof betterIs;

/** Several measurements of one thing. */
export interface Sample {
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly count: number;
}

/** What a figure must reach: a ratio to what it is compared with, or a value in its unit. */
export type Bar = { readonly ratio: number } | { readonly value: number };

export interface Figure {
  readonly what: string;
  readonly unit: Unit;
  readonly measured: Sample;
  /** Something that does the same work, or a yardstick; in the same unit. */
  readonly against?: { readonly what: string; readonly sample: Sample };
  readonly bar?: Bar | undefined;
}

/** A figure that could not be taken here. */
export interface Skipped {
  readonly what: string;
  readonly skipped: string;
}

/** A group of figures that is asked for by name. */
export interface Subject {
  readonly name: string;
  /** @param rounds how often each measurement is repeated. @throws Error when what is measured gives wrong results. */
  measure(rounds: number): Promise<readonly (Figure | Skipped)[]>;
}

/** @throws RangeError when there are no values. */
export function sampleOf(values: readonly number[]): Sample {
  if (values.length === 0) throw new RangeError('a sample needs at least one value');
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
  return { median, low: sorted[0]!, high: sorted.at(-1)!, count: sorted.length };
}

/** A sample of rates: so much work in each of these times. */
export function ratesOf(work: number, seconds: readonly number[]): Sample {
  return sampleOf(seconds.map((time) => work / time));
}

/** Seconds that `work` takes. */
export async function secondsOf(work: () => unknown): Promise<number> {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) / 1000;
}

/**
 * Seconds that several pieces of work take, by name. They take turns, so that whatever else happens on the machine meets
 * them alike.
 */
export async function takeTurns<Name extends string>(
  rounds: number,
  works: Readonly<Record<Name, () => unknown>>,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(works) as Name[];
  const seconds = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let round = 0; round < rounds; round++) {
    for (const name of names) seconds[name].push(await secondsOf(works[name]));
  }
  return seconds;
}

/** How many times as good as what it is compared with: faster or smaller; undefined without a comparison. */
export function ratioOf({ unit, measured, against }: Figure): number | undefined {
  if (against === undefined) return undefined;
  const share = measured.median / against.sample.median;
  return betterIs[unit] === 'more' ? share : 1 / share;
}

/** Whether the median meets the bar; undefined where there is none. @throws Error for a bar on a ratio that is not there. */
export function meetsBar(figure: Figure): boolean | undefined {
  const { what, unit, measured, bar } = figure;
  if (bar === undefined) return undefined;
  if ('value' in bar) return betterIs[unit] === 'more' ? measured.median >= bar.value : measured.median <= bar.value;
  const ratio = ratioOf(figure);
  if (ratio === undefined) throw new Error(`'${what}' has a bar on its ratio and nothing that it is compared with`);
  return ratio >= bar.ratio;
}

/** Text of a bar: `>= 10 x`, `<= 600 ms`. */
export function barText({ unit, bar }: Figure): string {
  if (bar === undefined) return '';
  if ('ratio' in bar) return `>= ${bar.ratio} x`;
  return `${betterIs[unit] === 'more' ? '>=' : '<='} ${quantity(bar.value, unit)}`;
}

/** A sample as its median, lowest and highest value, and how many there were: `118 ms (115 to 131, 7 times)`. */
export function sampleText({ median, low, high, count }: Sample, unit: Unit): string {
  const text = quantity(median, unit);
  if (count === 1) return text;
  const scale = scaleOf(median, unit);
  return `${text} (${digits(low * scale.factor)} to ${digits(high * scale.factor)}, ${count} times)`;
}

function quantity(value: number, unit: Unit): string {
  const { factor, name } = scaleOf(value, unit);
  return `${digits(value * factor)} ${name}`;
}

/** Seconds below one are told in milliseconds. */
function scaleOf(value: number, unit: Unit): { factor: number; name: string } {
  return unit === 's' && value < 1 ? { factor: 1000, name: 'ms' } : { factor: 1, name: unit };
}

/** Three significant digits, and never an exponent. */
export function digits(value: number): string {
  const decimals = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return String(Number(value.toFixed(Math.min(decimals, 20))));
}
