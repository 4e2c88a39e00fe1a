/** A synthetic study on disk: the files that evaluate and train would have written, with effects planted in them. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Json, Member } from '../../engine/stage.ts';
import { Random } from '../../model/random.ts';

/** The fields of evaluate's metrics that a test sets; the others are made up from them. */
export interface PlantedMetrics {
  readonly lossPerExample: readonly number[];
  readonly tokensPerExample?: readonly number[];
  readonly loss?: number;
  readonly agreement?: number;
}

/** Writes evaluate's metrics and returns the path. */
export function writeMetrics(path: string, planted: PlantedMetrics): string {
  const { lossPerExample, tokensPerExample, agreement = 0.97 } = planted;
  const loss = planted.loss ?? lossPerExample.reduce((sum, x) => sum + x, 0) / lossPerExample.length;
  const metrics = {
    loss,
    perplexity: Math.exp(loss),
    tokens: 40 * lossPerExample.length,
    examples: lossPerExample.length,
    top1Agreement: agreement,
    kl: 0.01 * (1 - agreement),
    greedyMatch: agreement - 0.05,
    firstDivergence: 12.5,
    embeddingCosine: 1 - 0.001 * (1 - agreement),
    lossPerExample,
    ...(tokensPerExample === undefined ? {} : { tokensPerExample }),
  };
  writeFileSync(path, JSON.stringify(metrics));
  return path;
}

/** Writes train's summary with memory in bytes and returns the path. */
export function writeSummary(path: string, weights: number, adapters: number): string {
  const memory = { weights, adapters, optimizer: 2 * adapters, activations: 5_000_000 };
  const total = weights + 3 * adapters + 5_000_000;
  const summary = {
    base: { layers: 4, width: 128, vocabSize: 2048 },
    adapters: { rank: 8, targets: ['q', 'v'] },
    memory: { ...memory, total },
    trainableParameters: adapters / 4,
    steps: 80,
    finalLoss: 2.1,
  };
  writeFileSync(path, JSON.stringify(summary));
  return path;
}

/** Writes train's curve: a decaying loss, validated at every 20th step. */
export function writeCurve(path: string, level: number, seed: number): string {
  const random = new Random(seed, 'curve');
  const rows = Array.from({ length: 80 }, (_, i) => {
    const decayed = level + 1.5 * Math.exp(-(i + 1) / 18);
    const validation = (i + 1) % 20 === 0 || i === 0 ? decayed + 0.1 : '';
    return `${i + 1},${decayed + 0.08 * random.normal()},0.002,1.5,${validation}`;
  });
  writeFileSync(path, `step,loss,learning_rate,gradient_norm,validation_loss\n${rows.join('\n')}\n`);
  return path;
}

/** The losses of one model on `examples` examples: a spread of difficulties. */
export function exampleLosses(examples: number, seed: number, level = 2): number[] {
  const random = new Random(seed, 'examples');
  return Array.from({ length: examples }, () => level * (1 + 0.3 * random.normal()));
}

/** Losses raised by `increase` on average, with noise from example to example. */
export function raised(losses: readonly number[], increase: number, noise: number, seed: number): number[] {
  const random = new Random(seed, 'raise');
  return losses.map((loss) => loss + increase + noise * random.normal());
}

/** Inputs of compare, as the engine would hand them over. */
export interface Study {
  readonly metrics: Member[];
  readonly summaries: Member[];
  readonly curves: Member[];
  readonly families: Member[];
  readonly unquantized: string;
  readonly counts: Member[];
}

export const targetSets = ['q+v', 'k+v', 'q+k+v+o', 'attention+mlp'];

/** A whole study: four target sets in two precisions, and six families in `layers` layers and in all. */
export function writeStudy(folder: string, { layers = 4, seeds = [42, 43, 44], examples = 60 } = {}): Study {
  mkdirSync(folder, { recursive: true });
  const member = (name: string, axes: Record<string, Json>, write: (path: string) => string): Member => ({
    path: write(join(folder, name)),
    axes,
  });
  const study: Study = {
    metrics: [],
    summaries: [],
    curves: [],
    families: [],
    counts: [],
    unquantized: writeMetrics(join(folder, 'unquantized.json'), { lossPerExample: exampleLosses(examples, 1, 2.4) }),
  };
  for (const [row, targets] of targetSets.entries()) {
    for (const precision of ['bf16', 'nf4']) {
      for (const seed of seeds) {
        const axes = { targets, precision, seed };
        const name = `${row}-${precision}-${seed}`;
        const level = 2 + 0.01 * (seed % 7) - 0.05 * row;
        const cost = precision === 'nf4' ? 0.02 + 0.012 * row + 0.002 * ((seed + row) % 3) : 0;
        const lossPerExample = exampleLosses(examples, 2, level).map((loss) => loss + cost);
        const agreement = precision === 'nf4' ? 0.96 : 1;
        study.metrics.push(member(`${name}.json`, axes, (path) => writeMetrics(path, { lossPerExample, agreement })));
        const weights = precision === 'nf4' ? 2_100_000 : 3_900_000;
        study.summaries.push(member(`${name}-s.json`, axes, (path) => writeSummary(path, weights, 60_000 * (row + 1))));
        study.curves.push(member(`${name}.csv`, axes, (path) => writeCurve(path, level + cost, seed)));
      }
    }
  }
  const base = exampleLosses(examples, 1, 2.4);
  for (const [order, family] of ['q', 'k', 'v', 'o', 'fc', 'proj'].entries()) {
    for (const layer of ['all', ...Array.from({ length: layers }, (_, i) => i)]) {
      const share = layer === 'all' ? 1 : (1.5 - (0.8 * (layer as number)) / layers) / layers;
      const increase = [0.0012, 0.0006, 0.009, 0.006, 0.016, 0.021][order]! * share;
      const axes = { family, layers: layer };
      const lossPerExample = raised(
        base,
        increase,
        0.35 * increase + 0.001,
        100 * order + Number(layer === 'all' ? 99 : layer),
      );
      study.families.push(member(`${family}-${layer}.json`, axes, (path) => writeMetrics(path, { lossPerExample })));
      const weights = (order < 4 ? 16384 : 65536) * (layer === 'all' ? layers : 1);
      study.counts.push(
        member(`${family}-${layer}-n.json`, axes, (path) => {
          writeFileSync(path, JSON.stringify({ quantizedWeights: weights }));
          return path;
        }),
      );
    }
  }
  return study;
}
