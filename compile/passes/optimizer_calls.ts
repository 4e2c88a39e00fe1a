/** Pass: one call for the optimizer's work on all parameters, instead of three for each. */
import type { Attribute, Call, Program } from '../program.ts';

interface Update {
  readonly norm: number;
  readonly hyper: number;
  /** p, m, v, g */
  readonly parameter: readonly [number, number, number, number];
  readonly attributes: Readonly<Record<string, Attribute>>;
  /** Positions of its three calls. */
  readonly calls: readonly number[];
}

/** Joins AdamWMean, AdamWVariance and AdamWUpdate of all parameters that share norm, hyper and attributes, in place. */
export function joinOptimizerCalls(program: Program): Program {
  const groups = new Map<string, Update[]>();
  for (const update of updatesOf(program)) {
    const key = JSON.stringify([update.norm, update.hyper, update.attributes]);
    groups.set(key, [...(groups.get(key) ?? []), update]);
  }
  if (groups.size === 0) return program;
  const joined = new Map<number, Call>();
  const removed = new Set<number>();
  for (const group of groups.values()) {
    const positions = group.flatMap(({ calls }) => calls);
    for (const position of positions) removed.add(position);
    const { norm, hyper, attributes } = group[0]!;
    joined.set(Math.max(...positions), {
      kernel: 'AdamW',
      inputs: [norm, hyper, ...group.flatMap(({ parameter }) => parameter)],
      outputs: group.flatMap(({ parameter: [p, m, v] }) => [p, m, v]),
      attributes,
    });
  }
  const calls = program.calls.flatMap(
    (call, position) => joined.get(position) ?? (removed.has(position) ? [] : [call]),
  );
  return { ...program, calls };
}

/** The parameters whose three calls all work in place. */
function updatesOf(program: Program): Update[] {
  const writers = new Map<number, number>();
  program.calls.forEach(({ kernel, inputs, outputs }, position) => {
    if ((kernel === 'AdamWMean' || kernel === 'AdamWVariance') && inputs[0] === outputs[0]) {
      writers.set(outputs[0]!, position);
    }
  });
  return program.calls.flatMap((call, position): Update[] => {
    const [p, m, v, hyper] = call.inputs as [number, number, number, number];
    if (call.kernel !== 'AdamWUpdate' || call.outputs[0] !== p) return [];
    const [ofMean, ofVariance] = [writers.get(m), writers.get(v)];
    if (ofMean === undefined || ofVariance === undefined) return [];
    const [mean, variance] = [program.calls[ofMean]!, program.calls[ofVariance]!];
    const [, g, norm] = mean.inputs as [number, number, number];
    if (variance.inputs[1] !== g || variance.inputs[2] !== norm) return [];
    const attributes = { ...call.attributes, maxNorm: mean.attributes.maxNorm! };
    return [{ norm, hyper, parameter: [p, m, v, g], attributes, calls: [ofMean, ofVariance, position] }];
  });
}
