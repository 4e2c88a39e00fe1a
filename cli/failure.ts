/** What the command says when it cannot do what it was asked. */

/** @returns 2 for what the user can mend (the file, the arguments, the project), 1 for anything else. */
export function exitCodeOf(error: unknown): number {
  return isUsageError(error) ? 2 : 1;
}

/** Prints an error: what the user can mend without a stack, a defect of the program with one. */
export async function reportError(error: unknown, asJson: boolean): Promise<void> {
  const message = error instanceof Error ? error.message : String(error);
  if (asJson) {
    const { diagnosticsOf } = await import('./diagnostics_json.ts');
    process.stdout.write(`${JSON.stringify({ type: 'error', message, diagnostics: diagnosticsOf(error) })}\n`);
    return;
  }
  const text = isUsageError(error) ? message : (refusalOf(error) ?? (error as Error).stack ?? message);
  process.stderr.write(`${text}\n`);
}

/** @returns what to say of a disk that takes no more, which is nobody's defect; null for any other error. */
function refusalOf(error: unknown): string | null {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code !== 'ENOSPC' && code !== 'EDQUOT' && code !== 'EROFS') return null;
  return `the disk takes no more: ${message}\n  what is finished is kept: make room (\`pipe gc\`, or elsewhere on the disk) and run again`;
}

/** Known by its name and its descendants' names: importing the class would load the engine for `pipe --help`. */
function isUsageError(error: unknown): boolean {
  return error instanceof Error && (error.name === 'UsageError' || error.name === 'PipelineError');
}
