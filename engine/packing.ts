/** Lists of similar objects as compact JSON: what many of them have in common is written, and held in memory, once. */

/** Objects of one kind, packed. Plain data. */
export interface Packed {
  /** The names of the fields that rows hold themselves, and of those that rows hold by their place in `common`. */
  readonly own: readonly string[];
  readonly shared: readonly string[];
  readonly common: readonly unknown[];
  readonly rows: readonly (readonly unknown[])[];
}

/**
 * Packs objects that all have the same fields.
 * @param own the fields that hardly two objects have in common; each other field's value is written once, however many have it.
 * @throws TypeError when an object has other fields than the first.
 */
export function pack<T extends object>(objects: readonly T[], own: readonly (keyof T & string)[]): Packed {
  const fields = Object.keys(objects[0] ?? {});
  const shared = fields.filter((field) => !own.includes(field as keyof T & string));
  const places = new Map<string, number>();
  const common: unknown[] = [];
  const placeOf = (value: unknown): number => {
    const text = JSON.stringify(value);
    let place = places.get(text);
    if (place === undefined) {
      place = common.push(value) - 1;
      places.set(text, place);
    }
    return place;
  };
  const rows = objects.map((object) => {
    if (Object.keys(object).length !== fields.length || !fields.every((field) => Object.hasOwn(object, field))) {
      throw new TypeError('objects of one kind have the same fields');
    }
    const values = object as Record<string, unknown>;
    return [...own.map((field) => values[field]), ...shared.map((field) => placeOf(values[field]))];
  });
  return { own: objects.length === 0 ? [] : own, shared, common, rows };
}

/** The objects that were packed. Those that had a field in common share its value. */
export function unpack<T extends object>({ own, shared, common, rows }: Packed): T[] {
  const count = own.length;
  return rows.map((row) => {
    const object: Record<string, unknown> = {};
    for (let at = 0; at < count; at++) object[own[at]!] = row[at];
    for (let at = 0; at < shared.length; at++) object[shared[at]!] = common[row[count + at] as number];
    return object as T;
  });
}
