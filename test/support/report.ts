/** A report on the synthetic study, with a lineage as the engine would have kept it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Ancestry, AncestryRecord } from '../../engine/ancestry.ts';
import type { Json, Member } from '../../engine/stage.ts';
import type { Results } from '../../stages/compare/results.ts';
import compare from '../../stages/compare.ts';
import plot from '../../stages/plot.ts';
import report from '../../stages/report.ts';
import type { Workshop } from './stages.ts';
import { type Study, writeStudy } from './study.ts';

export const one = (path: string): Member[] => [{ path, axes: {} }];

/** What the records of the synthetic study were trained with, besides their axes. */
export const recordParams: Readonly<Record<string, Json>> = {
  steps: 200,
  batch: 4,
  note: '<script>alert("1")</script>',
};

/** A record as the engine would have kept it. */
function record(task: string, producers: AncestryRecord['producers'], members: readonly Member[] = []): AncestryRecord {
  return {
    key: `key of ${task}`,
    task,
    manifest: {
      contract: 1,
      action: { uses: task.replace(/\[.*/, '') },
      code: 'c0de',
      params: recordParams,
      env: {},
      inputs: { metrics: members.map(({ axes }) => ({ axes, digest: 'd' })) },
      outputs: {},
    },
    outputs: { out: { kind: 'file', digest: 'd', bytes: 1 } },
    startedAt: '2026-01-02T03:04:05.678Z',
    seconds: 1.5,
    host: { name: 'host', platform: 'linux-x64', cpu: 'A processor', cores: 2, node: 'v20' },
    measurements: { 'seconds per step': 0.125, GPU: 'A graphics card' },
    run: 'run',
    producers,
    sources: {},
  };
}

/** Writes the lineage of a report on a study: each trained model has a record, and compare took them all. */
export function writeLineage(folder: string, study: Study): string {
  const trained = study.metrics.map(({ axes }) => record(`train[${Object.values(axes).join(',')}]`, {}));
  const keys = trained.map(({ key }) => key);
  const compared = record('compare', { metrics: keys }, study.metrics);
  const plotted = record('plot', { results: compared.key });
  const ancestry: Ancestry = {
    format: 1,
    inputs: { results: [compared.key], figures: [plotted.key], summaries: keys, curves: keys },
    records: [plotted, compared, ...trained],
  };
  const path = join(folder, 'lineage.json');
  writeFileSync(path, JSON.stringify(ancestry));
  return path;
}

export interface ReportedStudy {
  readonly page: string;
  readonly results: Results;
  /** How many models the study trained. */
  readonly runs: number;
}

/** Compares, plots and reports the synthetic study. */
export async function reportStudy(shop: Workshop): Promise<ReportedStudy> {
  const study = writeStudy(join(shop.folder, 'study'));
  const { outputs } = await shop.run(compare, { inputs: { ...study } });
  const drawn = await shop.run(plot, { inputs: { results: outputs.results! } });
  const { summaries, curves } = study;
  const lineage = writeLineage(shop.folder, study);
  const made = await shop.run(report, {
    params: { title: 'Which weight matrices tolerate 4-bit?', question: 'Does it matter which?' },
    inputs: { results: one(outputs.results!), figures: one(drawn.outputs.figures!), summaries, curves, lineage },
  });
  return {
    page: readFileSync(made.outputs.page!, 'utf8'),
    results: JSON.parse(readFileSync(outputs.results!, 'utf8')) as Results,
    runs: summaries.length,
  };
}
