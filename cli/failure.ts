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

/** @returns what to say of a disk that takes no more, errs or refuses, which is nobody's defect; null for any other error. */
function refusalOf(error: unknown): string | null {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EROFS':
      return `the disk takes no more: ${message}\n  what is finished is kept: make room (\`pipe gc\`, or elsewhere on the disk) and run again`;
    case 'EIO':
      return `the disk fails: ${message}\n  what is finished is kept: run again, and \`pipe verify\` tells what is damaged`;
    case 'EACCES':
    case 'EPERM':
      return `there is no permission: ${message}\n  what is finished is kept: run again when the folder may be written to`;
    default:
      return null;
  }
}

/** Known by its name and its descendants' names: importing the class would load the engine for `pipe --help`. */
function isUsageError(error: unknown): boolean {
  return error instanceof Error && (error.name === 'UsageError' || error.name === 'PipelineError');
}
