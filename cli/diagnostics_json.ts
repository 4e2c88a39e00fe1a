/** The findings of a PipelineError as plain data, for `--json`. */
import { locate, PipelineError } from '../engine/diagnostics.ts';

/** @returns one object for each finding; empty for any other error. */
export function diagnosticsOf(error: unknown): readonly object[] {
  if (!(error instanceof PipelineError)) return [];
  return error.diagnostics.map(({ message, span, hint }) => ({
    message,
    hint,
    ...(span === null ? {} : locate(span)),
  }));
}
