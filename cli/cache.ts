/** `pipe cache`: the shared cache beside the store: what it has, sending to it, fetching from it. */
import { UsageError } from '../engine/errors.ts';
import type { Event, RemoteTally } from '../engine/events.ts';
import type { SharedCache } from '../engine/remote/shared.ts';
import { compareStores, pullResults, pushResults, storedKeys } from '../engine/remote/sync.ts';
import type { Workspace } from '../engine/workspace.ts';
import { openForLook, type RequestOptions, tellDamage, withWorkspace } from './request.ts';
import { count, print, printJson, size } from './text.ts';

export type CacheAction = 'push' | 'pull' | 'stat';

export interface CacheOptions extends RequestOptions {
  readonly json?: true;
}

/** @returns 0; 1 when not all could be sent or fetched, or the cache does not answer. */
export function cache(action: CacheAction, args: readonly string[], options: CacheOptions): Promise<number> {
  const noted: { tally?: RemoteTally } = {};
  const hear = (event: Event) => {
    if (event.type === 'remote-tally') noted.tally = event;
    else tellDamage(event);
  };
  return withWorkspace(async (workspace) => {
    const shared = await workspace.shared();
    if (shared === null) {
      throw new UsageError(
        'this project has no shared cache\n  write `cache: ADDRESS` in pipe.config.yaml, or set PIPE_CACHE_REMOTE: a folder, http(s)://... or s3://BUCKET/PREFIX',
      );
    }
    switch (action) {
      case 'push':
        return push(workspace, shared, args, options, noted);
      case 'pull':
        return pull(workspace, shared, args, options, noted);
      case 'stat':
        return stat(workspace, shared, options);
    }
  }, hear);
}

type Noted = { readonly tally?: RemoteTally };

async function push(
  workspace: Workspace,
  shared: SharedCache,
  args: readonly string[],
  options: CacheOptions,
  noted: Noted,
): Promise<number> {
  if (!shared.settings.isWritable) {
    throw new UsageError(
      `the shared cache ${shared.name} is read-only here: \`mode\` in pipe.config.yaml, or PIPE_CACHE_MODE`,
    );
  }
  let keys = null;
  if (args.length > 0) {
    const { graph, targets } = await openForLook(workspace, args, options);
    keys = await storedKeys(workspace, shared, graph, targets);
  }
  const report = await pushResults(workspace, shared, keys);
  await shared.finish(new AbortController().signal);
  const bytes = noted.tally?.sentBytes ?? 0;
  if (options.json) printJson({ remote: shared.name, ...report, bytes });
  else {
    const unsent = report.unsent === 0 ? '' : `, ${report.unsent} could not be sent`;
    print(`${shared.name}: ${count(report.sent, 'result')} sent (${size(bytes)}), ${report.there} were there${unsent}`);
  }
  return report.unsent === 0 ? 0 : 1;
}

async function pull(
  workspace: Workspace,
  shared: SharedCache,
  args: readonly string[],
  options: CacheOptions,
  noted: Noted,
): Promise<number> {
  const { graph, targets } = await openForLook(workspace, args, options);
  const report = await pullResults(workspace, shared, graph, targets);
  await shared.finish(new AbortController().signal);
  const bytes = noted.tally?.takenBytes ?? 0;
  if (options.json) printJson({ remote: shared.name, pipeline: graph.name, ...report, bytes });
  else {
    const here = `${report.here} of ${count(report.wanted, 'result')} of ${graph.name} are here`;
    print(`${shared.name}: ${report.fetched} fetched (${size(bytes)}); ${here}`);
  }
  return report.here === report.wanted ? 0 : 1;
}

async function stat(workspace: Workspace, shared: SharedCache, { json }: CacheOptions): Promise<number> {
  const { settings, name } = shared;
  const state = await compareStores(workspace, shared);
  const mode = settings.isWritable ? 'read-write' : 'read-only';
  const signed = settings.secret !== null;
  const isHere = state.milliseconds !== null;
  if (json) printJson({ remote: name, kind: settings.address.kind, mode, signed, ...state });
  else {
    const answer = isHere ? `answers in ${state.milliseconds!.toFixed(0)} ms` : 'does not answer';
    print(`${name}: ${answer}; ${mode}; ${signed ? 'signed records only' : 'records are not signed'}`);
    if (isHere) print(`  it has ${state.there} of the ${count(state.results, 'result')} in cache/`);
  }
  return isHere ? 0 : 1;
}
