/**
 * Lineage as PROV-JSON, for tools that read W3C PROV: an execution is an activity, an artifact or source file an entity, the
 * code that ran a plan, this engine and the machine agents.
 * Format: https://www.w3.org/submissions/prov-json/ (W3C member submission, 24 April 2013).
 */
import { endOf, isTask, type LineageGraph, type LineageTask } from './lineage.ts';
import type { Digest } from './record.ts';

/** A value of an attribute: plain, or with the type that PROV-JSON gives it. */
type ProvValue = string | number | { readonly $: string; readonly type: string };
type Attributes = Readonly<Record<string, ProvValue | readonly ProvValue[]>>;

/** A PROV-JSON document: records of each kind by identifier. */
export interface ProvDocument {
  readonly prefix: Readonly<Record<string, string>>;
  readonly entity: Readonly<Record<string, Attributes>>;
  readonly activity: Readonly<Record<string, Attributes>>;
  readonly agent: Readonly<Record<string, Attributes>>;
  readonly used: Readonly<Record<string, Attributes>>;
  readonly wasGeneratedBy: Readonly<Record<string, Attributes>>;
  readonly wasAssociatedWith: Readonly<Record<string, Attributes>>;
  readonly wasDerivedFrom: Readonly<Record<string, Attributes>>;
}

/** A qualified name, which PROV tells from text by its type. */
const name = (text: string): ProvValue => ({ $: text, type: 'prov:QUALIFIED_NAME' });
const entityId = (digest: Digest): string => `sha256:${digest}`;
const activityId = ({ id }: LineageTask): string => `key:${id}`;

/**
 * @param version of this engine.
 * @returns the lineage as one PROV-JSON document. Entities are named by their content: two tasks that gave equal content
 * generated one entity.
 */
export function provDocument({ nodes, edges }: LineageGraph, version: string): ProvDocument {
  const entity: Record<string, Attributes> = {};
  const activity: Record<string, Attributes> = {};
  const agent: Record<string, Attributes> = {};
  const relations = { used: {}, wasGeneratedBy: {}, wasAssociatedWith: {}, wasDerivedFrom: {} };
  const relate = (kind: keyof typeof relations, attributes: Attributes) => {
    const records: Record<string, Attributes> = relations[kind];
    records[`_:${kind}${Object.keys(records).length + 1}`] = attributes;
  };
  const engine = 'pipe:engine';
  agent[engine] = { 'prov:type': name('prov:SoftwareAgent'), 'prov:label': `pipe ${version}` };

  for (const node of nodes) {
    if (!isTask(node)) {
      entity[entityId(node.id)] = { 'prov:label': node.path, 'prov:type': name('pipe:Source'), 'pipe:path': node.path };
      continue;
    }
    activity[activityId(node)] = activityAttributes(node);
    const machine = `host:${encodeURIComponent(node.host.name)}`;
    const { platform, cpu, cores, node: runtime } = node.host;
    agent[machine] = {
      'prov:label': node.host.name,
      'prov:type': name('pipe:Host'),
      'pipe:platform': platform,
      'pipe:cpu': cpu,
      'pipe:cores': cores,
      'pipe:node': runtime,
    };
    const association = { 'prov:activity': activityId(node), 'prov:agent': engine };
    if (node.code === null) relate('wasAssociatedWith', association);
    else {
      const plan = entityId(node.code.digest);
      entity[plan] = { 'prov:type': name('prov:Plan'), 'prov:label': `code of ${actionText(node)}` };
      relate('wasAssociatedWith', { ...association, 'prov:plan': plan });
    }
    relate('wasAssociatedWith', {
      'prov:activity': activityId(node),
      'prov:agent': machine,
      'prov:role': name('pipe:host'),
    });
    for (const [output, { digest, kind, bytes }] of Object.entries(node.outputs)) {
      entity[entityId(digest)] = {
        'prov:label': `${node.task} ${output}`,
        'prov:type': name(kind === 'file' ? 'pipe:File' : 'pipe:Folder'),
        'pipe:bytes': bytes,
      };
      relate('wasGeneratedBy', {
        'prov:entity': entityId(digest),
        'prov:activity': activityId(node),
        'prov:time': endOf(node),
        'prov:role': output,
      });
    }
  }
  const byId = new Map(nodes.map((node) => [node.id, node]));
  for (const { to, input, digest } of edges) {
    const consumer = byId.get(to) as LineageTask;
    const activity = activityId(consumer);
    relate('used', { 'prov:activity': activity, 'prov:entity': entityId(digest), 'prov:role': input });
    for (const output of new Set(Object.values(consumer.outputs).map((artifact) => artifact.digest))) {
      relate('wasDerivedFrom', {
        'prov:generatedEntity': entityId(output),
        'prov:usedEntity': entityId(digest),
        'prov:activity': activity,
      });
    }
  }
  const prefix = {
    sha256: 'urn:sha256:',
    key: 'urn:pipe:key:',
    host: 'urn:pipe:host:',
    pipe: 'urn:pipe:',
  };
  return { prefix, entity, activity, agent, ...relations };
}

function activityAttributes(node: LineageTask): Attributes {
  const attributes: Record<string, ProvValue> = {
    'prov:startTime': node.startedAt,
    'prov:endTime': endOf(node),
    'prov:label': node.task,
    'prov:type': name('pipe:Execution'),
    'pipe:action': actionText(node),
    'pipe:run': node.run,
    'pipe:seconds': { $: String(node.seconds), type: 'xsd:double' },
    'pipe:params': JSON.stringify(node.params),
    'pipe:measurements': JSON.stringify(node.measurements),
    ...(node.job === null ? {} : { 'pipe:job': `${node.job.cluster}/${node.job.id}` }),
  };
  return attributes;
}

function actionText({ action }: LineageTask): string {
  return 'uses' in action ? action.uses : [action.run].flat().join(' ');
}
