/** Expands a stage's matrix: one instance for each combination of axis values. */
import type { DiagnosticList } from './diagnostics.ts';
import type { Scope } from './evaluate.ts';
import { typeName } from './functions.ts';
import type { ResolvedStage } from './graph.ts';
import { JoinIndex } from './join.ts';
import { type Combination, expandMatrix, type Matrix, productSize, taskId } from './matrix.ts';
import type { StageDeclaration } from './parse.ts';
import { keySpan, type Node, nodeAt } from './source.ts';
import type { Json } from './stage.ts';
import { suggest } from './suggest.ts';
import { evaluateOrReport } from './template.ts';

/** A task before its values and inputs are known. */
export interface Instance {
  readonly id: string;
  readonly axes: Combination;
  /** `matrix.NAME` for this task: every axis of the stage, null where the task has none. */
  readonly matrix: Combination;
}

/** A stage with its instances. */
export interface ExpandedStage {
  readonly declaration: StageDeclaration;
  /** The stage module; null for a command. */
  readonly module: ResolvedStage | null;
  /** Every axis that any of its tasks has. */
  readonly axes: readonly string[];
  readonly artifacts: ReadonlySet<string>;
  readonly instances: readonly Instance[];
  readonly index: JoinIndex<Instance>;
}

/** The most tasks that one stage may become: what a matrix with a slip of the hand exceeds. */
const MAX_TASKS = 100_000;

/** The name of an axis. */
const AXIS = /^[A-Za-z_][A-Za-z0-9_-]*$/;

/** Expands one stage. @returns null when its matrix is wrong, which was reported. */
export function expandStage(
  declaration: StageDeclaration,
  module: ResolvedStage | null,
  scope: Scope,
  diagnostics: DiagnosticList,
): ExpandedStage | null {
  const combinations = readCombinations(declaration, scope, diagnostics);
  if (combinations === null) return null;
  const names = new Set<string>();
  for (const combination of combinations) for (const axis in combination) names.add(axis);
  const axes = [...names];
  const instances: Instance[] = [];
  const ids = new Set<string>();
  for (const combination of combinations) {
    const id = taskId(declaration.name, combination);
    if (ids.has(id)) {
      const hint = 'two combinations of the matrix have the same values; remove one, or tell them apart by an axis';
      diagnostics.report(declaration.matrix!.node.span, `duplicate task ${id}`, hint);
      return null;
    }
    ids.add(id);
    instances.push({ id, axes: combination, matrix: withAllAxes(combination, axes) });
  }
  const artifacts = module === null ? declaration.outputs.keys() : Object.keys(module.interface.outputs);
  return { declaration, module, axes, artifacts: new Set(artifacts), instances, index: new JoinIndex(instances) };
}

function withAllAxes(combination: Combination, axes: readonly string[]): Combination {
  if (axes.every((axis) => Object.hasOwn(combination, axis))) return combination;
  return { ...Object.fromEntries(axes.map((axis) => [axis, null])), ...combination };
}

function readCombinations(
  declaration: StageDeclaration,
  scope: Scope,
  diagnostics: DiagnosticList,
): readonly Combination[] | null {
  if (declaration.matrix === null) return [{}];
  const value = evaluateOrReport(declaration.matrix, scope, diagnostics);
  if (value === undefined) return null;
  const matrix = readMatrix(value, declaration.matrix.node, diagnostics);
  if (matrix === null) return null;
  const { span } = declaration.matrix.node;
  const size = productSize(matrix.axes);
  if (size > MAX_TASKS) {
    diagnostics.report(span, `the matrix gives ${size} tasks; at most ${MAX_TASKS} are allowed`);
    return null;
  }
  const combinations = expandMatrix(matrix);
  if (combinations.length > 0) return combinations;
  diagnostics.report(span, 'the matrix gives no task', 'its excludes remove every combination');
  return null;
}

/** Reads an evaluated matrix. @returns null when it is wrong, which was reported. */
function readMatrix(value: Json, node: Node, diagnostics: DiagnosticList): Matrix | null {
  const before = diagnostics.count;
  if (!isMap(value)) {
    diagnostics.report(node.span, `a matrix must be a map, not ${typeName(value)}`);
    return null;
  }
  const axes = new Map<string, readonly Json[]>();
  for (const [axis, values] of Object.entries(value)) {
    if (axis === 'include' || axis === 'exclude') continue;
    const { span } = nodeAt(node, [axis]);
    if (!AXIS.test(axis)) diagnostics.report(span, `"${axis}" cannot name an axis`, "use letters, digits, '_' and '-'");
    else if (!Array.isArray(values))
      diagnostics.report(
        span,
        `the axis "${axis}" must be a list, not ${typeName(values)}`,
        `write [${JSON.stringify(values)}]`,
      );
    else if (values.length === 0) diagnostics.report(span, `the axis "${axis}" has no values`);
    else axes.set(axis, values);
  }
  const include = readEntries(value, 'include', node, diagnostics);
  const exclude = readEntries(value, 'exclude', node, diagnostics);
  exclude.forEach((entry, at) => {
    for (const axis of Object.keys(entry)) {
      if (axes.has(axis) || diagnostics.count > before) continue;
      const span = keySpan(nodeAt(node, ['exclude', String(at)]), axis);
      diagnostics.report(span, `exclude names an unknown axis "${axis}"`, suggest(axis, axes.keys(), 'axes'));
    }
  });
  include.forEach((entry, at) => {
    for (const axis of Object.keys(entry)) {
      if (AXIS.test(axis)) continue;
      const span = keySpan(nodeAt(node, ['include', String(at)]), axis);
      diagnostics.report(span, `"${axis}" cannot name an axis`, "use letters, digits, '_' and '-'");
    }
  });
  return diagnostics.count === before ? { axes, include, exclude } : null;
}

function readEntries(
  matrix: { readonly [key: string]: Json },
  key: 'include' | 'exclude',
  node: Node,
  diagnostics: DiagnosticList,
): readonly Combination[] {
  const entries = Object.hasOwn(matrix, key) ? matrix[key]! : [];
  if (Array.isArray(entries) && entries.every(isMap)) return entries;
  diagnostics.report(
    nodeAt(node, [key]).span,
    `${key} must be a list of maps`,
    `for example: ${key}: [{ rank: 8, seed: 3 }]`,
  );
  return [];
}

function isMap(value: Json): value is { [key: string]: Json } {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
