/** Reads the Markdown pages of the documentation: fenced blocks with what their info string says, links, and commands in them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const repository = join(import.meta.dirname, '..', '..');

/** A fenced block. Its info string is a language, then words: `yaml excerpt`, `ts file=stages/words.ts`. */
export interface Block {
  readonly language: string;
  readonly words: ReadonlySet<string>;
  /** What `NAME=VALUE` words give. */
  readonly settings: Readonly<Record<string, string>>;
  readonly text: string;
  /** The line of its fence. */
  readonly line: number;
}

export interface Page {
  /** Relative to the repository. */
  readonly path: string;
  readonly blocks: readonly Block[];
  /** The page without its fenced blocks. */
  readonly prose: string;
}

/** README.md and every page in docs/, and the model card. */
export function documentation(): readonly Page[] {
  const docs = readdirSync(join(repository, 'docs')).filter((name) => name.endsWith('.md'));
  return ['README.md', 'assets/gpt2-tiny/README.md', ...docs.map((name) => `docs/${name}`)].map(readPage);
}

function readPage(path: string): Page {
  const blocks: Block[] = [];
  const prose: string[] = [];
  let open: { info: string; line: number; lines: string[] } | null = null;
  for (const [at, line] of readFileSync(join(repository, path), 'utf8').split('\n').entries()) {
    const fence = /^```(.*)$/.exec(line);
    if (fence === null) (open?.lines ?? prose).push(line);
    else if (open === null) open = { info: fence[1]!, line: at + 1, lines: [] };
    else {
      blocks.push(blockOf(open.info, open.lines, open.line));
      open = null;
    }
  }
  if (open !== null) throw new Error(`${path}:${open.line}: the block is not closed`);
  return { path, blocks, prose: prose.join('\n') };
}

function blockOf(info: string, lines: readonly string[], line: number): Block {
  const [language = '', ...words] = info.trim().split(/\s+/);
  const pairs = words.filter((word) => word.includes('=')).map((word) => word.split('=') as [string, string]);
  return {
    language,
    words: new Set(words),
    settings: Object.fromEntries(pairs),
    text: lines.map((text) => `${text}\n`).join(''),
    line,
  };
}

/** A shell command that a page shows. */
export interface Shown {
  readonly where: string;
  readonly command: string;
}

/** The commands of a page that call `pipe`: in shell blocks, after `$ ` in consoles, and in backticks. */
export function shownCommands({ path, blocks, prose }: Page): readonly Shown[] {
  const shown: Shown[] = [];
  for (const { language, text, line } of blocks) {
    if (language !== 'sh' && language !== 'console') continue;
    for (const [at, content] of text.split('\n').entries()) {
      const typed = language === 'sh' ? content : (/^\$ (.*)$/.exec(content)?.[1] ?? '');
      for (const command of typed.split('&&')) shown.push({ where: `${path}:${line + at + 1}`, command });
    }
  }
  for (const [, command] of prose.matchAll(/`([^`]+)`/g)) shown.push({ where: path, command: command! });
  return shown
    .map(({ where, command }) => ({ where, command: command.trim().replace(/^npx /, '') }))
    .filter(({ command }) => /^pipe [a-z]/.test(command));
}

/** The targets of a page's links and images that are no addresses of other sites. */
export function relativeLinks({ prose }: Page): readonly string[] {
  const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target!);
  return links.filter((target) => !/^[a-z]+:/.test(target));
}

/** The anchors that GitHub gives a page's headings. */
export function anchors({ prose }: Page): readonly string[] {
  return [...prose.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replaceAll(/[^\w\s-]/g, '')
      .trim()
      .replaceAll(/\s/g, '-'),
  );
}

/** A console block as what was typed and what came of it. */
export function session({ text }: Block): readonly { readonly command: string; readonly output: string }[] {
  return text
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const end = part.indexOf('\n');
      return { command: part.slice(0, end), output: part.slice(end + 1) };
    });
}

/** Output with what differs between two runs of the same thing replaced: times, digests, names of runs and machines. */
export function normalised(output: string): string {
  const lines = output
    .trimEnd()
    .replaceAll(/\d{8}T\d{6}(\.\d+)?-[\w.-]+-[0-9a-f]{6}/g, 'RUN')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replaceAll(/\b(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b/g, 'DIGEST')
    .replaceAll(/\b(\d+ min )?\d+(\.\d+)? s\b/g, 'SECONDS')
    .replaceAll(/\b\d+(\.\d+)? [kMG]?B\b/g, 'SIZE')
    .replaceAll(/on \S+ \([^()]*(\([^()]*\)[^()]*)*, node v[\d.]+\)/g, 'on HOST')
    .replaceAll(/^\[ *\d+\/(\d+)\]/gm, '[N/$1]')
    .split('\n');
  // Tasks that run at the same time end in any order.
  const done = lines.filter((line) => line.startsWith('[N/')).sort();
  return lines.map((line) => (line.startsWith('[N/') ? done.shift()! : line)).join('\n');
}
