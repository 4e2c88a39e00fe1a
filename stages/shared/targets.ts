/** Sets of matrices as people write them: `q+v`, `qv`, `attention+mlp`, `all`. */
import { StageError } from '../../engine/stage.ts';
import { type Family, families } from '../../model/gpt2.ts';

const sets: Readonly<Record<string, readonly Family[]>> = {
  ...Object.fromEntries(families.map((target) => [target, [target]])),
  attention: ['q', 'k', 'v', 'o'],
  mlp: ['fc', 'proj'],
  all: families,
};

/** The matrices that a text such as `q+k+v+o` names, in the order of `families`. @throws StageError for an unknown name. */
export function parseTargets(text: string): Family[] {
  const chosen = new Set<Family>();
  for (const name of text.split('+').flatMap((part) => namesIn(part.trim()))) {
    const members = Object.hasOwn(sets, name) ? sets[name]! : null;
    if (members === null) {
      throw new StageError(
        `'${name}' in '${text}' names no matrices: join names out of ${Object.keys(sets).join(', ')} with +`,
      );
    }
    for (const target of members) chosen.add(target);
  }
  return families.filter((target) => chosen.has(target));
}

/** Families of one letter may be written together: `qkv`. */
function namesIn(part: string): string[] {
  return /^[qkvo]+$/.test(part) ? [...part] : [part];
}
