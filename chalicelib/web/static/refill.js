/** Bringing a part of the page up to date without touching what stayed the same. */

/** @type {WeakMap<Element, string>} what each element was drawn from */
const drawnFrom = new WeakMap();

/**
 * Show these, in this order, in place of what was there. An element whose key and facts are as
 * before is left alone, and so keeps focus, selection and scrolling; one that is drawn anew has the
 * focus again where it had it.
 * @param {Element} holder
 * @param {Array<{key: string, facts: *, draw: () => Element}>} items
 * @returns {boolean} whether anything changed
 */
export function refill(holder, items) {
  const before = new Map([...holder.children].map((child) => [child.dataset.key, child]));
  let changed = items.length !== before.size;
  items.forEach(({ key, facts, draw }, index) => {
    const old = before.get(key);
    const told = JSON.stringify(facts);
    before.delete(key);
    const kept = old && drawnFrom.get(old) === told;
    const element = kept ? old : replaced(old, draw);
    if (!kept) {
      element.dataset.key = key;
      drawnFrom.set(element, told);
      changed = true;
    }
    if (holder.children[index] !== element) holder.insertBefore(element, holder.children[index] ?? null);
  });
  for (const gone of before.values()) gone.remove();
  return changed;
}

function replaced(old, draw) {
  const element = draw();
  if (!old) return element;
  const focused = old.contains(document.activeElement) ? placeOf(document.activeElement, old) : -1;
  old.replaceWith(element);
  if (focused >= 0) reachable(element)[focused]?.focus();
  return element;
}

function placeOf(element, within) {
  return reachable(within).indexOf(element);
}

function reachable(within) {
  return [...within.querySelectorAll('a, button, input, select, summary, [tabindex="0"]')];
}
