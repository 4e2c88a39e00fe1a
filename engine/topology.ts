/** Orders tasks so that producers come before their consumers, or finds the cycle that forbids it. */

export type Order = { readonly order: readonly string[] } | { readonly cycle: readonly string[] };

/**
 * Depth-first over what the roots depend on, without recursion: a chain may be as long as the graph.
 * @param roots where to begin, in the order wanted as far as dependencies allow
 * @param dependencies what must come before a node
 * @returns every node that the roots reach, in topological order; or a cycle, its first node repeated at the end, each node
 *   depending on the next
 */
export function topologicalOrder(roots: Iterable<string>, dependencies: (node: string) => readonly string[]): Order {
  const order: string[] = [];
  const state = new Map<string, 'open' | 'done'>();
  for (const root of roots) {
    if (state.has(root)) continue;
    const path: { readonly node: string; readonly before: readonly string[]; next: number }[] = [];
    const enter = (node: string): void => {
      state.set(node, 'open');
      path.push({ node, before: dependencies(node), next: 0 });
    };
    enter(root);
    while (path.length > 0) {
      const top = path.at(-1)!;
      const next = top.before[top.next++];
      if (next === undefined) {
        state.set(top.node, 'done');
        order.push(top.node);
        path.pop();
      } else if (state.get(next) === 'open') {
        const nodes = path.map(({ node }) => node);
        return { cycle: [...nodes.slice(nodes.indexOf(next)), next] };
      } else if (!state.has(next)) {
        enter(next);
      }
    }
  }
  return { order };
}
