/** The error of every reader in model/: a file that is not what its format says, with the file, the place and the reason. */

/** Thrown for a bad file or folder; the message names the path, what in it is wrong and, where it helps, what to do. */
export class FormatError extends Error {
  override readonly name = 'FormatError';

  /** @param path the file or folder; @param problem what is wrong in it and where. */
  constructor(path: string, problem: string, options?: ErrorOptions) {
    super(`${path}: ${problem}`, options);
  }
}
