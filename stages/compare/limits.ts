/** What the data of a comparison can and cannot show, said from the data. */
import { formatDeviation, formatNumber } from '../shared/format.ts';
import type { Comparison, Configuration, NoiseFloor, Sensitivity } from './results.ts';

/** One sentence for each limit that these results have. */
export function limitsOf(
  comparison: Comparison,
  configurations: readonly Configuration[],
  noise: NoiseFloor | null,
  sensitivity: Sensitivity | null,
): readonly string[] {
  return [...gridLimits(comparison, configurations, noise), ...sensitivityLimits(sensitivity)];
}

function gridLimits(
  { replicate, axis, reference, metric, confidence }: Comparison,
  configurations: readonly Configuration[],
  noise: NoiseFloor | null,
): readonly string[] {
  if (configurations.length === 0) return [];
  const counts = configurations.map((one) => one.pairs.length);
  const fewest = Math.min(...counts);
  const unresolved = configurations.filter(
    ({ drop: { interval } }) => interval === null || (interval.low <= 0 && interval.high >= 0),
  );
  const sentences = [
    fewest === 1
      ? `A configuration was run with one ${replicate} only, so its drop has no spread and no interval: it may be chance.`
      : `Drops rest on ${fewest === Math.max(...counts) ? fewest : `${fewest} to ${Math.max(...counts)}`} ${replicate}s: their t intervals cover what changes with the ${replicate}, not other data, models or lengths of training.`,
  ];
  if (unresolved.length > 0) {
    const all = configurations.length;
    const which =
      unresolved.length < all
        ? `Of ${all} drops, ${unresolved.length} cannot`
        : all === 1
          ? 'The drop cannot'
          : `None of the ${all} drops can`;
    sentences.push(
      `${which} be told from zero at ${formatNumber(100 * confidence, 0)} % (${unresolved.map((one) => one.label).join('; ')}): the ${axis} may make no difference to ${metric.label} there, or too small a one for this many ${replicate}s.`,
    );
  }
  if (noise !== null) {
    sentences.push(
      `Runs that differ in nothing but the ${replicate} differ by ${formatDeviation(noise)} % in ${noise.metric.label} (standard deviation with ${axis} ${reference}); a drop much smaller than that is known only because it is paired by ${replicate}.`,
    );
  }
  sentences.push(
    'Peak memory is what the planned step needs, exact for the program; it leaves out the process and the driver around it.',
  );
  return sentences;
}

function sensitivityLimits(sensitivity: Sensitivity | null): readonly string[] {
  if (sensitivity === null) return [];
  const { loss, uniformLoss } = sensitivity.reference;
  return [
    ...(uniformLoss === null || loss < uniformLoss
      ? []
      : [
          `Without training the model loses ${formatNumber(loss, 2)} nats per token on these records, no less than the ${formatNumber(uniformLoss, 2)} of a uniform guess: it is sure of what is wrong. A loss that falls when a family is quantized is no gain in quality there, and the verdict on families says what moves the loss, not what costs quality.`,
        ]),
    `Sensitivity was measured on one model and ${sensitivity.reference.examples} held-out examples (${sensitivity.reference.tokens} response tokens): the intervals cover the choice of examples, not that of the model.`,
    'Families were quantized one at a time and without training: the increases need not add up when several are quantized, and training an adapter can win some of them back.',
  ];
}
