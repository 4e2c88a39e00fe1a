/** Finding things in the page. */
import type { PageRecord } from '../lineage.ts';

/** The content of a JSON block of the page; null when there is none. */
export function block<T>(id: string): T | null {
  const text = document.getElementById(id)?.textContent;
  return text === undefined || text === null ? null : (JSON.parse(text) as T);
}

let known: readonly PageRecord[] | null = null;

/** The records behind the report. */
export function records(): readonly PageRecord[] {
  known ??= block<readonly PageRecord[]>('records') ?? [];
  return known;
}

/** An element with attributes and content. Text is put in as text. */
export function element(
  name: string,
  attributes: Readonly<Record<string, string>> = {},
  ...content: readonly (Node | string)[]
): HTMLElement {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...content);
  return made;
}
