/** `pipe diff`: what is different between two runs. */
import { readCodeListing } from '../engine/code.ts';
import { canonicalJson } from '../engine/manifest.ts';
import { type ArtifactChange, artifactChanges, type MetricChange, measurementChanges } from '../engine/metrics.ts';
import type { Artifact } from '../engine/record.ts';
import type { RunRecord } from '../engine/runs.ts';
import type { Json } from '../engine/stage.ts';
import type { Store } from '../engine/store.ts';
import { type Difference, differencesOf, reasonLines } from '../engine/why.ts';
import { withWorkspace } from './request.ts';
import { findRun } from './run_names.ts';
import { count, paint, print, printJson, size } from './text.ts';

export interface DiffOptions {
  readonly json?: true;
}

/** A task that both runs hold, with another key. */
interface Changed {
  readonly task: string;
  readonly differences: readonly Difference[];
  /** Outputs whose content differs; null when a record is gone. */
  readonly outputs: readonly ArtifactChange[] | null;
  /** What was measured: time and memory, never part of a result. */
  readonly measurements: readonly MetricChange[];
}

interface RunDifference {
  readonly from: string;
  readonly to: string;
  readonly params: readonly { readonly name: string; readonly old: Json | null; readonly new: Json | null }[];
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly Changed[];
  readonly same: number;
}

/** Compares two runs; by default the one before the last with the last. */
export function diff(from: string | undefined, to: string | undefined, options: DiffOptions): Promise<number> {
  return withWorkspace(async ({ store }) => {
    const difference = compare(store, findRun(store.cache, from ?? 'previous'), findRun(store.cache, to ?? 'latest'));
    if (options.json) printJson(difference);
    else printDifference(difference);
    return 0;
  });
}

function compare(store: Store, from: RunRecord, to: RunRecord): RunDifference {
  const names = new Set([...Object.keys(from.params), ...Object.keys(to.params)]);
  const params = [...names]
    .filter((name) => canonicalJson(from.params[name] ?? null) !== canonicalJson(to.params[name] ?? null))
    .map((name) => ({ name, old: from.params[name] ?? null, new: to.params[name] ?? null }));
  // In the order of names: a run's own order is that in which its tasks ended.
  const common = Object.keys(to.tasks)
    .filter((task) => from.tasks[task] !== undefined)
    .sort();
  const changed = common.filter((task) => from.tasks[task]!.key !== to.tasks[task]!.key);
  return {
    from: from.id,
    to: to.id,
    params,
    added: Object.keys(to.tasks)
      .filter((task) => from.tasks[task] === undefined)
      .sort(),
    removed: Object.keys(from.tasks)
      .filter((task) => to.tasks[task] === undefined)
      .sort(),
    changed: changed.map((task) => compareTask(store, task, from, to)),
    same: common.length - changed.length,
  };
}

function compareTask(store: Store, task: string, from: RunRecord, to: RunRecord): Changed {
  const recordIn = (run: RunRecord) => {
    const { key } = run.tasks[task]!;
    return key === null ? null : store.readRecord(key);
  };
  const [before, after] = [recordIn(from), recordIn(to)];
  if (before === null || after === null) return { task, differences: [], outputs: null, measurements: [] };
  const listingOf = (code: string) => (store.hasBlob(code) ? readCodeListing(store.blobPath(code)) : null);
  return {
    task,
    differences: differencesOf(before.manifest, after.manifest, listingOf),
    outputs: artifactChanges(store, before, after),
    measurements: measurementChanges(before, after),
  };
}

function printDifference({ from, to, params, added, removed, changed, same }: RunDifference): void {
  print(`${from} -> ${to}`);
  for (const { name, old, new: next } of params)
    print(`  param ${name}: ${JSON.stringify(old)} -> ${JSON.stringify(next)}`);
  for (const task of removed) print(paint('red', `  - ${task}`));
  for (const task of added) print(paint('green', `  + ${task}`));
  for (const { task, differences, outputs, measurements } of changed) {
    const result =
      outputs === null
        ? 'no result in one of them'
        : outputs.length === 0
          ? 'same result'
          : `other ${outputs.map(({ name }) => name).join(', ')}`;
    print(`  ${paint('yellow', `~ ${task}`)}: ${result}`);
    if (outputs === null) continue;
    for (const line of reasonLines({ kind: 'changed', since: '', differences })) print(`      ${line}`);
    for (const { name, old, new: next, metrics } of outputs) {
      print(`      ${name}: ${artifactText(old)} -> ${artifactText(next)}`);
      printMetrics(metrics);
    }
    if (measurements.length > 0) print('      measured:');
    printMetrics(measurements);
  }
  print(`  ${count(same, 'task')} the same`);
}

function artifactText(artifact: Artifact | null): string {
  return artifact === null ? '(none)' : `${artifact.digest.slice(0, 12)} (${size(artifact.bytes)})`;
}

/** The most numbers that are shown of one artifact; --json has all. */
const SHOWN = 8;

function printMetrics(metrics: readonly MetricChange[]): void {
  for (const metric of metrics.slice(0, SHOWN)) print(`        ${metricText(metric)}`);
  if (metrics.length > SHOWN) print(`        and ${metrics.length - SHOWN} more numbers`);
}

function metricText({ name, old, new: next }: MetricChange): string {
  const figure = (value: number | undefined) => (value === undefined ? '(none)' : String(Number(value.toPrecision(6))));
  const change =
    old === undefined || next === undefined || old === 0
      ? ''
      : ` (${next < old ? '' : '+'}${Number((((next - old) / Math.abs(old)) * 100).toPrecision(3))} %)`;
  return `${name} ${figure(old)} -> ${figure(next)}${change}`;
}
