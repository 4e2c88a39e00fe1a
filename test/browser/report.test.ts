/** The report's page in a real browser: what it does under the pointer, by the keyboard, for a screen reader, on paper and in the dark. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ReportedStudy, reportStudy } from '../support/report.ts';
import { openWorkshop, type Workshop } from '../support/stages.ts';

const program = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  existsSync(path),
);
if (program === undefined)
  console.log(
    'skipped: there is no Chromium at /usr/bin/chromium to open the report in (Debian: apt-get install chromium)',
  );

describe.skipIf(program === undefined)('the page in Chromium', () => {
  let shop: Workshop;
  let reported: ReportedStudy;
  let browser: Browser;
  let page: Page;
  let address: string;
  const problems: string[] = [];

  beforeAll(async () => {
    shop = openWorkshop();
    reported = await reportStudy(shop);
    const path = join(shop.folder, 'report.html');
    writeFileSync(path, reported.page);
    address = pathToFileURL(path).href;
    browser = await chromium.launch({ executablePath: program!, args: ['--no-sandbox'] });
    page = await open();
  });
  afterAll(async () => {
    await browser?.close();
    shop.remove();
  });

  async function open(options: Parameters<Browser['newPage']>[0] = {}): Promise<Page> {
    const opened = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
    opened.on('console', (message) => void problems.push(message.text()));
    opened.on('pageerror', (error) => void problems.push(error.message));
    opened.on('request', (request) => {
      if (!/^(file|data|blob):/.test(request.url())) problems.push(request.url());
    });
    await opened.goto(address);
    return opened;
  }

  it('draws every figure live, and one says the values under the pointer', async () => {
    const places = page.locator('.plot[data-vega]');
    const count = await places.count();
    expect(count).toBe(5);
    for (let i = 0; i < count; i++) {
      await places.nth(i).scrollIntoViewIfNeeded();
      await page.waitForFunction((at) => document.querySelectorAll('.plot')[at]!.classList.contains('live'), i);
    }
    await page.locator('#figure-performance_drop .mark-symbol path').first().hover();
    const tooltip = page.locator('#vg-tooltip-element.visible');
    await tooltip.waitFor();
    expect(await tooltip.innerText()).toContain('Performance drop');
    expect(problems).toEqual([]);
  });

  it('sorts a table by a column, down, and back', async () => {
    const table = page.locator('table[aria-labelledby="table-0-family_sensitivity"]');
    const order = () => table.locator('tbody th').allInnerTexts();
    const head = table.locator('th').nth(1);
    const before = await order();
    await head.getByRole('button').click();
    expect(await head.getAttribute('aria-sort')).toBe('ascending');
    const values = await table
      .locator('tbody td:nth-child(2)')
      .evaluateAll((cells) => cells.map((cell) => Number((cell as HTMLElement).dataset.value)));
    expect(values).toEqual(values.toSorted((a, b) => a - b));
    const up = await order();
    await head.getByRole('button').press('Enter');
    expect(await order()).toEqual(up.toReversed());
    await head.getByRole('button').click();
    expect(await order()).toEqual(before);
  });

  it('filters the grid and its curves', async () => {
    const rows = page.locator('#grid-table tbody tr:visible');
    const all = await rows.count();
    expect(all).toBe(reported.runs);
    const lines = () => page.locator('#figure-grid_curves .mark-line path').count();
    const before = await lines();
    await page.getByRole('group', { name: 'Precision' }).getByText('nf4').click();
    expect(await rows.count()).toBe(all / 2);
    expect(await page.getByRole('status').innerText()).toBe(`${all / 2} of ${all} runs`);
    await page.waitForFunction(
      (wanted) => document.querySelectorAll('#figure-grid_curves .mark-line path').length === wanted,
      before / 2,
    );
    await page.getByRole('group', { name: 'Precision' }).getByText('nf4').click();
    expect(await rows.count()).toBe(all);
  });

  it('leads from a number to its record, and from there to those behind it, by the keyboard alone', async () => {
    const table = page.locator('table[aria-labelledby="table-0-performance"]');
    // One stop in the whole table; arrows move within it.
    expect(await table.locator('[tabindex="0"]').count()).toBe(1);
    await table.locator('[tabindex="0"]').focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowDown');
    const cell = page.locator(':focus');
    expect(await cell.evaluate((element) => (element as HTMLTableCellElement).cellIndex)).toBe(2);
    const value = await cell.getAttribute('data-value');
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog', { name: 'Where this number comes from' });
    await dialog.waitFor();
    expect(await dialog.innerText()).toContain(value!);
    expect(await dialog.getByRole('heading', { name: 'compare' }).count()).toBe(1);
    const behind = dialog.locator('details.record summary');
    expect(await behind.allInnerTexts()).toEqual(
      ['bf16', 'nf4'].flatMap((precision) => [42, 43, 44].map((seed) => `train[k+v,${precision},${seed}]`)),
    );
    await behind.first().press('Enter');
    expect(await dialog.innerText()).toMatch(/steps\s+200/);
    await page.keyboard.press('Escape');
    expect(await dialog.isVisible()).toBe(false);
    await page.locator('.verdict .n').first().press('Enter');
    expect(await dialog.isVisible()).toBe(true);
    await page.keyboard.press('Escape');
  });

  it('names its parts to a screen reader', async () => {
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll('section, main table, .scroll, fieldset, [role=img], nav')]
        .filter((part) => {
          const labels = part.getAttribute('aria-labelledby')?.split(' ') ?? [];
          const named = labels.map((id) => document.getElementById(id)?.textContent?.trim() ?? '').join('');
          const own = part.getAttribute('aria-label') ?? part.querySelector(':scope > legend')?.textContent ?? '';
          return `${named}${own}` === '';
        })
        .map((part) => part.outerHTML.slice(0, 80)),
    );
    expect(nameless).toEqual([]);
    expect(await page.locator('h1').count()).toBe(1);
    const levels = await page
      .locator('main :is(h2, h3, h4)')
      .evaluateAll((heads) => heads.map(({ tagName }) => tagName));
    expect(levels[0]).toBe('H2');
  });

  it('fits a telephone, and turns dark with the reader, legibly', async () => {
    const small = await open({ viewport: { width: 390, height: 800 }, colorScheme: 'dark' });
    expect(await small.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
    const contrast = await small.evaluate(() => {
      const light = (colour: string) => {
        const [r, g, b] = colour.match(/[\d.]+/g)!.map((part) => {
          const share = Number(part) / 255;
          return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        }) as [number, number, number];
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const paper = light(getComputedStyle(document.body).backgroundColor);
      return ['body', '.lead', '.note', '.badge', '.measure', 'nav a'].map((part) => {
        const ink = light(getComputedStyle(document.querySelector(part)!).color);
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      });
    });
    for (const ratio of contrast) expect(ratio).toBeGreaterThan(4.5);
    await small.close();
  });

  it('prints what a click would show', async () => {
    const paper = await open();
    await paper.evaluate(() => dispatchEvent(new Event('beforeprint')));
    await paper.emulateMedia({ media: 'print' });
    expect(await paper.locator('.verdict dl').first().isVisible()).toBe(true);
    expect(await paper.locator('nav').isVisible()).toBe(false);
    expect((await paper.pdf({ format: 'A4' })).length).toBeGreaterThan(50_000);
    await paper.close();
  });

  it('says it all without a script, but for what asks for one', async () => {
    const plain = await open({ javaScriptEnabled: false });
    expect(await plain.locator('.verdict .answer').first().innerText()).not.toBe('');
    expect(await plain.locator('.plot svg').count()).toBe(5);
    expect(await plain.locator('#filters').isVisible()).toBe(false);
    await plain.close();
  });
});
