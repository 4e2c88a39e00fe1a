/** Errors that are the user's to mend: shown as a message, without a stack. */

/** The file, the arguments or the project is not as it must be. The command exits with code 2. */
export class UsageError extends Error {
  override readonly name: string = 'UsageError';
}

/** The message of whatever was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The `code` of a Node system error (`ENOENT`, `EEXIST`), or undefined. */
export function errorCode(thrown: unknown): string | undefined {
  return thrown instanceof Error ? (thrown as NodeJS.ErrnoException).code : undefined;
}
