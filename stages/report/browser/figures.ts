/** Figures under the pointer: the drawn picture gives way to a live one of the same specification as it comes into view. */
import { block } from './page.ts';

interface View {
  data(name: string, values: readonly unknown[]): View;
  data(name: string): readonly unknown[];
  runAsync(): Promise<View>;
}

declare const vegaEmbed: {
  default(element: HTMLElement, spec: object, options: object): Promise<{ readonly view: View }>;
};

/** The live figures by the name of their JSON block. */
export interface Figures {
  /** Called with a figure's view as soon as it is live, or never if its specification cannot be drawn. */
  whenLive(name: string, then: (view: View) => void): void;
}

export function enliven(): Figures {
  const live = new Map<string, View>();
  const waiting = new Map<string, ((view: View) => void)[]>();
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        observer.unobserve(target);
        void draw(target as HTMLElement);
      }
    },
    { rootMargin: '600px' },
  );

  async function draw(place: HTMLElement): Promise<void> {
    const name = place.dataset.vega!;
    const spec = block<object>(name);
    if (spec === null) return;
    // Labels are laid out by their widths: in the page's own font, once it is there.
    await document.fonts.ready;
    const picture = place.querySelector('svg')!;
    const stage = document.createElement('div');
    try {
      const { view } = await vegaEmbed.default(stage, spec, {
        mode: 'vega',
        renderer: 'svg',
        actions: false,
        defaultStyle: false,
        // Expressions are interpreted: the page allows no code from text.
        ast: true,
        tooltip: { disableDefaultStyle: true, theme: 'page' },
      });
      stage.setAttribute('role', 'img');
      stage.setAttribute('aria-label', picture.querySelector('desc')?.textContent ?? '');
      for (const svg of stage.querySelectorAll('svg')) svg.setAttribute('aria-hidden', 'true');
      picture.replaceWith(stage);
      place.classList.add('live');
      live.set(name, view);
      for (const then of waiting.get(name) ?? []) then(view);
    } catch (error) {
      console.error(`${name} stays a picture:`, error);
    }
  }

  for (const place of document.querySelectorAll<HTMLElement>('[data-vega]')) observer.observe(place);
  return {
    whenLive(name, then) {
      const view = live.get(name);
      if (view !== undefined) then(view);
      else waiting.set(name, [...(waiting.get(name) ?? []), then]);
    },
  };
}
