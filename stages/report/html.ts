/** HTML from template literals: whatever is put into one is escaped, unless it is HTML already. */

/** A piece of HTML, safe to put into a page. */
export interface Html {
  readonly markup: string;
}

type Part = string | number | Html | readonly Part[];

/** Template tag: `` html`<p>${name}</p>` `` escapes the name; pieces and lists of pieces go in as they are. */
export function html(literals: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return { markup: literals.reduce((markup, literal, i) => markup + markupOf(parts[i - 1]!) + literal) };
}

/** Marks text as HTML without a look at it: for files that the project itself wrote, and for styles. */
export function trusted(markup: string): Html {
  return { markup };
}

/** Text that HTML shows as it is, also within a quoted attribute. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

function markupOf(part: Part): string {
  if (typeof part === 'string') return escapeHtml(part);
  if (typeof part === 'number') return String(part);
  if ('markup' in part) return part.markup;
  return part.map(markupOf).join('');
}
