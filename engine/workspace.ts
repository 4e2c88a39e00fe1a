/** A project opened for work: its store, its stages and what is remembered of both. */
import { join } from 'node:path';
import { type Claims, openClaims } from './claims.ts';
import { type Digester, openDigester } from './digest.ts';
import { type Emit, stamped } from './events.ts';
import { type Memo, openMemo } from './memo.ts';
import { openStages, type Stages } from './modules.ts';
import { openProject, type Project } from './project.ts';
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
  return {
    project,
    memo,
    digester,
    store,
    stages,
    claims: openClaims(join(project.cache, 'claims')),
    fingerprints: openFingerprints(project.cache),
    save,
    async close() {
      save();
      await stages.close();
    },
  };
}
