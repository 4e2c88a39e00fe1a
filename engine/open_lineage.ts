/**
 * Lineage as OpenLineage run events: a START and a COMPLETE for each execution, and for each run of `pipe` that held one as
 * its parent. They can be kept in a file or sent to any server that takes them.
 * Format: https://openlineage.io/spec/2-0-0/OpenLineage.json.
 */
import { createHash } from 'node:crypto';
import { UsageError } from './errors.ts';
import { endOf, isTask, type LineageGraph, type LineageNode, type LineageTask } from './lineage.ts';

const schema = 'https://openlineage.io/spec';
const eventSchema = `${schema}/2-0-0/OpenLineage.json#/$defs/RunEvent`;

interface Facet {
  readonly _producer: string;
  readonly _schemaURL: string;
  readonly [field: string]: unknown;
}
type Facets = Readonly<Record<string, Facet>>;
interface Job {
  readonly namespace: string;
  readonly name: string;
  readonly facets?: Facets;
}
interface Dataset {
  readonly namespace: string;
  readonly name: string;
  readonly facets: Facets;
}

export interface RunEvent {
  readonly eventType: 'START' | 'COMPLETE';
  /** ISO 8601, UTC. */
  readonly eventTime: string;
  readonly producer: string;
  readonly schemaURL: string;
  readonly run: { readonly runId: string; readonly facets: Facets };
  readonly job: Job;
  readonly inputs: readonly Dataset[];
  readonly outputs: readonly Dataset[];
}

/** Who speaks, and of what. */
export interface Speaker {
  /** The project's name: the namespace of its jobs and datasets. */
  readonly namespace: string;
  /** Of this engine. */
  readonly version: string;
  /** The pipeline that a run was of. */
  readonly pipelineOf: (run: string) => string;
}

/**
 * @returns the events, in the order of their times. An execution has the same run id whenever it is told, so a server that
 * hears of it twice knows that it is one. A dataset is named after the task and output that make it; its version is its digest.
 */
export function runEvents({ nodes, edges }: LineageGraph, { namespace, version, pipelineOf }: Speaker): RunEvent[] {
  const producer = `urn:pipe:${version}`;
  const facet = (path: string, fields: Record<string, unknown>): Facet => ({
    _producer: producer,
    _schemaURL: `${schema}/facets/${path}`,
    ...fields,
  });
  const dataset = (name: string, digest: string): Dataset => ({
    namespace,
    name,
    facets: {
      version: facet('1-0-0/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet', {
        datasetVersion: digest,
      }),
    },
  });
  const job = (name: string, jobType: string): Job => ({
    namespace,
    name,
    facets: {
      jobType: facet('2-0-2/JobTypeJobFacet.json#/$defs/JobTypeJobFacet', {
        processingType: 'BATCH',
        integration: 'PIPE',
        jobType,
      }),
    },
  });
  const engine = facet('1-1-0/ProcessingEngineRunFacet.json#/$defs/ProcessingEngineRunFacet', {
    name: 'pipe',
    version,
  });
  const event = (fields: Pick<RunEvent, 'eventType' | 'eventTime' | 'run' | 'job' | 'inputs' | 'outputs'>) => ({
    ...fields,
    producer,
    schemaURL: eventSchema,
  });

  const byId = new Map<string, LineageNode>(nodes.map((node) => [node.id, node]));
  const tasks = nodes.filter(isTask);
  const executions = tasks.flatMap((task) => {
    const inputs = new Map<string, Dataset>();
    for (const edge of edges) {
      if (edge.to !== task.id) continue;
      const from = byId.get(edge.from)!;
      const name = isTask(from) ? `${from.task}/${edge.artifact ?? edge.digest}` : from.path;
      inputs.set(name, dataset(name, edge.digest));
    }
    const common = {
      run: {
        runId: uuidOf(`${task.run}/${task.id}`),
        facets: {
          processing_engine: engine,
          parent: facet('1-1-0/ParentRunFacet.json#/$defs/ParentRunFacet', {
            run: { runId: uuidOf(task.run) },
            job: { namespace, name: pipelineOf(task.run) },
          }),
          jobRunParameters: facet('1-0-0/JobRunParametersFacet.json#/$defs/JobRunParametersFacet', {
            parameters: Object.entries(task.params).map(([key, value]) => ({ key, value })),
          }),
        },
      },
      job: job(task.task, 'TASK'),
      inputs: [...inputs.values()],
      outputs: Object.entries(task.outputs).map(([name, { digest }]) => dataset(`${task.task}/${name}`, digest)),
    };
    return [
      event({ ...common, eventType: 'START', eventTime: task.startedAt }),
      event({ ...common, eventType: 'COMPLETE', eventTime: endOf(task) }),
    ];
  });
  const runs = [...groups(tasks)].map(([run, members]) => {
    const common = {
      run: { runId: uuidOf(run), facets: { processing_engine: engine } },
      job: job(pipelineOf(run), 'PIPELINE'),
      inputs: [],
      outputs: [],
    };
    const started = members.map(({ startedAt }) => startedAt).sort()[0]!;
    const ended = members.map(endOf).sort().at(-1)!;
    return {
      start: event({ ...common, eventType: 'START', eventTime: started }),
      complete: event({ ...common, eventType: 'COMPLETE', eventTime: ended }),
    };
  });
  // Sorting keeps the order of equal times: a run begins before its first execution and ends after its last.
  return [...runs.map(({ start }) => start), ...executions, ...runs.map(({ complete }) => complete)].sort((a, b) =>
    a.eventTime < b.eventTime ? -1 : a.eventTime > b.eventTime ? 1 : 0,
  );
}

function groups(tasks: readonly LineageTask[]): Map<string, LineageTask[]> {
  const byRun = new Map<string, LineageTask[]>();
  for (const task of tasks) byRun.set(task.run, [...(byRun.get(task.run) ?? []), task]);
  return byRun;
}

/** A UUID of version 8 (RFC 9562: bits of one's own choice) made of a digest: the same text has the same one. */
function uuidOf(text: string): string {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** How long a server may take to answer. */
const answerMs = 10_000;

/**
 * Sends events one after the other to a server's endpoint, each as one POST.
 * @param token goes into the header `Authorization: Bearer`, where a server asks for one.
 * @throws UsageError that says how many were taken before the server refused one or did not answer.
 */
export async function sendEvents(events: readonly RunEvent[], endpoint: URL, token: string | null): Promise<void> {
  const headers = {
    'content-type': 'application/json',
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
  };
  for (const [sent, event] of events.entries()) {
    const refused = (why: string) =>
      new UsageError(`${endpoint.origin}${endpoint.pathname} took ${sent} of ${events.length} events, then ${why}`);
    const response = await fetch(endpoint, {
      method: 'POST',
      headers,
      body: JSON.stringify(event),
      redirect: 'error',
      signal: AbortSignal.timeout(answerMs),
    }).catch((thrown: Error) => {
      throw refused(thrown.name === 'TimeoutError' ? 'gave no answer in 10 s' : causeOf(thrown));
    });
    if (!response.ok) throw refused(`answered ${response.status} ${(await response.text()).slice(0, 200)}`.trim());
  }
}

/** What lies behind `fetch failed`. */
function causeOf({ message, cause }: Error): string {
  const { code, message: detail } = (cause ?? {}) as NodeJS.ErrnoException;
  return code ?? detail ?? message;
}
