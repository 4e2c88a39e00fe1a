/** A project opened for work: its store, its stages and what is remembered of both. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Claims, openClaims } from './claims.ts';
import { type Digester, openDigester } from './digest.ts';
import { type Emit, stamped } from './events.ts';
import { type Memo, openMemo } from './memo.ts';
import { openStages, type Stages } from './modules.ts';
import { openProject, type Project } from './project.ts';
import type { SharedCache } from './remote/shared.ts';
import { type Fingerprints, openFingerprints } from './secrets.ts';
import { openStore, type Store } from './store.ts';

export interface Workspace {
  readonly project: Project;
  readonly memo: Memo;
  readonly digester: Digester;
  readonly store: Store;
  readonly stages: Stages;
  readonly claims: Claims;
  readonly fingerprints: Fingerprints;
  /** Whether anything speaks of a shared cache: told without loading what a shared cache needs. */
  readonly mayShare: boolean;
  /** The project's shared cache, opened when it is first wanted; null when it has none. @throws UsageError when it is configured wrongly */
  shared(): Promise<SharedCache | null>;
  /** Keeps what was learnt for the next process. */
  save(): void;
  /** Saves, and ends helper processes. */
  close(): Promise<void>;
}

/**
 * Opens the project that a folder lies in.
 * @param emit hears of damage that is found in the store.
 * @throws UsageError when the folder lies in no project.
 */
export function openWorkspace(cwd: string, emit: Emit = () => undefined): Workspace {
  const project = openProject(cwd);
  const memo = openMemo(join(project.cache, 'memo'));
  const digester = openDigester(memo);
  const store = openStore(project.cache, memo, stamped(emit));
  const stages = openStages(project, memo, digester);
  const save = () => {
    digester.save();
    stages.save();
    store.save();
  };
  let opened: Promise<SharedCache | null> | null = null;
  const mayShare = process.env.PIPE_CACHE_REMOTE !== undefined || existsSync(join(project.root, 'pipe.config.yaml'));
  async function open(): Promise<SharedCache | null> {
    if (!mayShare) return null;
    const { openSharedCache } = await import('./remote/shared.ts');
    return openSharedCache(project.root, store, stamped(emit));
  }
  return {
    project,
    memo,
    digester,
    store,
    stages,
    claims: openClaims(join(project.cache, 'claims')),
    fingerprints: openFingerprints(project.cache),
    mayShare,
    shared() {
      opened ??= open();
      return opened;
    },
    save,
    async close() {
      save();
      await stages.close();
      // What went wrong on opening has been told where it was wanted.
      await opened?.then((shared) => shared?.close()).catch(() => undefined);
    },
  };
}
