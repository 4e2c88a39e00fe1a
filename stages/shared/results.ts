/** Reads the results that compare wrote, for the stages that show them. */
import { StageError } from '../../engine/stage.ts';
import { FormatError } from '../../model/format_error.ts';
import { readJson } from '../../model/json.ts';
import type { Results } from '../compare/results.ts';

/** @throws StageError when the file is not JSON, or not what compare writes. */
export function readResults(path: string): Results {
  const found = readObject(path);
  if (found.format === 1) return found as unknown as Results;
  throw new StageError(
    `${path} is not what compare writes: "format" is ${JSON.stringify(found.format)}, not 1. Give the artifact \`results\` of a compare stage.`,
  );
}

function readObject(path: string): Readonly<Record<string, unknown>> {
  try {
    return Object(readJson(path)) as Readonly<Record<string, unknown>>;
  } catch (error) {
    if (error instanceof FormatError) throw new StageError(error.message);
    throw error;
  }
}
