/** Two adapters set against each other: each family of each layer, the layers, and all of it as one vector. */
import { StageError } from '../../engine/stage.ts';
import {
  type Difference,
  difference,
  differenceOf,
  innerProduct,
  isZero,
  type LowRank,
  rowsOf,
  type Spectra,
  spectra,
} from '../../model/low_rank.ts';

/** What the comparison of one family of one layer found: `q` of layer 3. */
export interface FamilyComparison extends Difference {
  readonly layer: number;
  readonly family: string;
  readonly spectra: Spectra;
}

/** A layer's adapted matrices as one vector; its angles are the least and the greatest of its matrices, in degrees; null where one is zero. */
export interface LayerComparison extends Difference {
  readonly layer: number;
  readonly outputAngles: Range | null;
  readonly inputAngles: Range | null;
}

export interface Range {
  readonly least: number;
  readonly greatest: number;
}

export interface AdapterComparison {
  /** alpha / r where it is one number in both adapters, else null. It is in every norm and L2. */
  readonly scale: number | null;
  readonly families: readonly FamilyComparison[];
  readonly layers: readonly LayerComparison[];
  readonly whole: Difference;
}

type Modules = ReadonlyMap<string, LowRank>;

/** The matrices of one name, with their inner products. */
interface Pair {
  readonly name: string;
  readonly layer: number;
  readonly update: LowRank;
  readonly reference: LowRank;
  readonly product: number;
  readonly square: number;
  readonly referenceSquare: number;
}

/**
 * Compares two adapters on the same matrices.
 * @param folders what they are called in errors. @throws StageError when they sit on other matrices or matrices of other shapes.
 */
export function compareAdapters(
  adapter: Modules,
  reference: Modules,
  folders: { readonly adapter: string; readonly reference: string },
): AdapterComparison {
  const lacking = [...reference.keys()].find((name) => !adapter.has(name));
  const extra = [...adapter.keys()].find((name) => !reference.has(name));
  if (lacking !== undefined || extra !== undefined) {
    const [has, lacks] =
      lacking === undefined ? [folders.adapter, folders.reference] : [folders.reference, folders.adapter];
    throw new StageError(
      `${has} has an adapter on ${lacking ?? extra}, and ${lacks} has none: only adapters on the same matrices can be compared`,
    );
  }
  const pairs = [...reference].map(([name, theirs]) => pairUp(name, adapter.get(name)!, theirs));
  pairs.sort((a, b) => a.layer - b.layer);
  const layers = [...new Set(pairs.map(({ layer }) => layer))];
  const scales = new Set([...adapter.values(), ...reference.values()].map(({ scale }) => scale));
  return {
    scale: scales.size === 1 ? [...scales][0]! : null,
    families: pairs.flatMap(familiesOf),
    layers: layers.map((layer) =>
      layerOf(
        layer,
        pairs.filter((pair) => pair.layer === layer),
      ),
    ),
    whole: together(pairs),
  };
}

function pairUp(name: string, update: LowRank, reference: LowRank): Pair {
  if (update.inFeatures !== reference.inFeatures || update.outFeatures !== reference.outFeatures) {
    throw new StageError(
      `the adapters on ${name} are for matrices of [${update.outFeatures}, ${update.inFeatures}] and [${reference.outFeatures}, ${reference.inFeatures}]: they belong to models of other sizes`,
    );
  }
  return {
    name,
    layer: Number(/(?:^|\.)(\d+)\./.exec(name)?.[1] ?? 0),
    update,
    reference,
    product: innerProduct(update, reference),
    square: innerProduct(update, update),
    referenceSquare: innerProduct(reference, reference),
  };
}

/** Sums of inner products: matrices side by side are one long vector. */
function together(pairs: readonly Pair[]): Difference {
  const sum = (of: (pair: Pair) => number) => pairs.reduce((total, pair) => total + of(pair), 0);
  return differenceOf(
    sum(({ product }) => product),
    sum(({ square }) => square),
    sum(({ referenceSquare }) => referenceSquare),
  );
}

function layerOf(layer: number, pairs: readonly Pair[]): LayerComparison {
  const all = pairs
    .filter(({ square, referenceSquare }) => square > 0 && referenceSquare > 0)
    .map(({ update, reference }) => spectra(update, reference));
  return {
    layer,
    ...together(pairs),
    outputAngles: rangeOf(all.flatMap(({ outputAngles }) => outputAngles)),
    inputAngles: rangeOf(all.flatMap(({ inputAngles }) => inputAngles)),
  };
}

function rangeOf(values: readonly number[]): Range | null {
  return values.length === 0 ? null : { least: Math.min(...values), greatest: Math.max(...values) };
}

/** GPT-2's names for matrices that are one family. */
const families: Readonly<Record<string, string>> = { 'attn.c_proj': 'o', 'mlp.c_fc': 'fc', 'mlp.c_proj': 'proj' };

/** The families of a matrix: queries, keys and values of a fused c_attn apart, without those that no adapter sits on. */
function familiesOf({ name, layer, update, reference }: Pair): readonly FamilyComparison[] {
  const kind = name.replace(/^.*?\d+\./, '');
  const width = update.inFeatures;
  const parts =
    kind === 'attn.c_attn' && update.outFeatures === 3 * width
      ? ['q', 'k', 'v'].map((family, i) => ({
          family,
          mine: rowsOf(update, i * width, (i + 1) * width),
          theirs: rowsOf(reference, i * width, (i + 1) * width),
        }))
      : [{ family: families[kind] ?? kind, mine: update, theirs: reference }];
  return parts
    .filter(({ mine, theirs }) => !isZero(mine) && !isZero(theirs))
    .map(({ family, mine, theirs }) => ({
      layer,
      family,
      ...difference(mine, theirs),
      spectra: spectra(mine, theirs),
    }));
}
