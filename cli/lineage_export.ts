/** Lineage in the formats of other tools: PROV-JSON, OpenLineage, Workflow Run RO-Crate. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join, relative, resolve, sep } from 'node:path';
import { DiagnosticList } from '../engine/diagnostics.ts';
import { UsageError } from '../engine/errors.ts';
import { readPipeline } from '../engine/include.ts';
import { isTask, type LineageGraph } from '../engine/lineage.ts';
import { runEvents, sendEvents } from '../engine/open_lineage.ts';
import type { Project } from '../engine/project.ts';
import { provDocument } from '../engine/prov.ts';
import { writeCrate } from '../engine/ro_crate.ts';
import { readRun } from '../engine/runs.ts';
import { SchemaChecker } from '../engine/schema.ts';
import type { Workspace } from '../engine/workspace.ts';
import { count, print } from './text.ts';

/** Names of exported formats. */
export type ExportFormat = 'prov' | 'openlineage' | 'ro-crate';

/**
 * Writes the lineage to `out`, or to standard output.
 * @param out a file; for OpenLineage also the http(s) address of a server's endpoint; for an RO-Crate a new folder.
 * @throws UsageError when `out` cannot be what the format needs.
 */
export async function exportLineage(
  workspace: Workspace,
  graph: LineageGraph,
  format: ExportFormat,
  out: string | undefined,
): Promise<void> {
  const { project } = workspace;
  const { version } = packageOf(project.packageRoot);
  switch (format) {
    case 'prov':
      write(`${JSON.stringify(provDocument(graph, version!), null, 2)}\n`, out);
      return;
    case 'openlineage': {
      const namespace = packageOf(project.root).name ?? basename(project.root);
      const pipelineOf = (run: string) => readRun(workspace.store.cache, run)?.pipeline ?? namespace;
      const events = runEvents(graph, { namespace, version: version!, pipelineOf });
      if (out === undefined || !/^https?:/.test(out)) {
        write(events.map((event) => `${JSON.stringify(event)}\n`).join(''), out);
        return;
      }
      if (!URL.canParse(out)) throw new UsageError(`${out} is no address`);
      await sendEvents(events, new URL(out), process.env.OPENLINEAGE_API_KEY ?? null);
      print(`${count(events.length, 'event')} sent`);
      return;
    }
    case 'ro-crate': {
      if (out === undefined) throw new UsageError('an RO-Crate is a folder\n  say where: --out FOLDER');
      const name = pipelineNameOf(workspace, graph);
      const facts = {
        name,
        pipelineFiles: pipelineFilesOf(project, name),
        license: packageOf(project.root).license ?? 'Not stated: ask whoever gave you this crate.',
        version: version!,
      };
      const files = await writeCrate(workspace, graph, facts, resolve(out));
      print(`${join(out, 'ro-crate-metadata.json')}, with ${count(files, 'artifact, source and pipeline file')}`);
    }
  }
}

function write(text: string, out: string | undefined): void {
  if (out === undefined) process.stdout.write(text);
  else writeFileSync(out, text);
}

interface PackageFile {
  readonly name?: string;
  readonly version?: string;
  readonly license?: string;
}

/** What a folder's package.json says; nothing where there is none. */
function packageOf(folder: string): PackageFile {
  const path = join(folder, 'package.json');
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as PackageFile) : {};
}

/** The pipeline that made the target: of the folder under results/, or of the run. */
function pipelineNameOf({ project, store }: Workspace, { target, root, nodes }: LineageGraph): string {
  const path = resolve(target);
  if (path.startsWith(project.results + sep)) return relative(project.results, path).split(sep)[0]!;
  const made = nodes.find(({ id }) => id === root)!;
  const run = isTask(made) ? readRun(store.cache, made.run) : null;
  if (run !== null) return run.pipeline;
  throw new UsageError(`nothing says which pipeline made ${target}\n  name a file under results/`);
}

/** The file of a pipeline, and those that it includes. */
function pipelineFilesOf({ root }: Project, name: string): readonly string[] {
  const folder = join(root, 'pipelines');
  const checker = new SchemaChecker();
  for (const file of existsSync(folder) ? readdirSync(folder).sort() : []) {
    if (!/\.ya?ml$/.test(file)) continue;
    // A file with errors is no reason not to tell what another one made: it is only not the one looked for.
    try {
      const pipeline = readPipeline(join(folder, file), root, checker, new DiagnosticList());
      if (pipeline.name === name) return pipeline.files;
    } catch (thrown) {
      if (!(thrown instanceof UsageError)) throw thrown;
    }
  }
  throw new UsageError(`no file in pipelines/ is the pipeline ${name}, which an RO-Crate must hold`);
}
