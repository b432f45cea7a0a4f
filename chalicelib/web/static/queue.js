/** The list of what waits, what of it is selected, and what is decided about it. */

import { make } from './build.js';
import { ask } from './operator.js';

const PAGE = 20;
const MOST_AT_ONCE = 100;
const byId = (id) => document.getElementById(id);
const DONE = { accept: 'accepted', reject: 'rejected' };
const DEFAULT_WHY = { accept: 'the boxes are right', reject: 'the boxes are wrong' };

/** Fires `open` when another submission is to be shown, `decided` with what became of decisions. */
export class Queue extends EventTarget {
  constructor() {
    super();
    /** @type {object[]} */
    this.items = [];
    this.next = null;
    this.current = null;
    this.selected = new Set();
    this.busy = false;
    byId('cases-more').addEventListener('click', () => this.more());
    byId('all').addEventListener('change', (event) => this.selectAll(event.target.checked));
    byId('bulk-clear').addEventListener('click', () => this.selectAll(false));
    byId('cases').addEventListener('keydown', (event) => this.arrows(event));
  }

  /** Load the first page anew; what is in view stays in view where it still waits. */
  async load() {
    const shown = this.current?.submission_id;
    const page = await this.whileBusy(() => ask(`v1/review?limit=${PAGE}`));
    this.items = page.waiting;
    this.next = page.next;
    const waiting = new Set(this.items.map((item) => item.submission_id));
    this.selected = new Set([...this.selected].filter((id) => waiting.has(id)));
    this.show(this.items.find((item) => item.submission_id === shown) ?? this.items[0] ?? null);
  }

  /** Load the next page. */
  async more() {
    const page = await ask(`v1/review?after=${encodeURIComponent(this.next)}&limit=${PAGE}`);
    const known = new Set(this.items.map((item) => item.submission_id));
    this.items.push(...page.waiting.filter((item) => !known.has(item.submission_id)));
    this.next = page.next;
    if (this.current) this.draw();
    else this.show(this.items[0] ?? null);
  }

  /**
   * Bring a submission into view.
   * @param {?object} item
   */
  show(item) {
    this.current = item;
    this.draw();
    this.dispatchEvent(new Event('open'));
  }

  /**
   * Go to the next or the one before.
   * @param {number} by 1 or -1
   */
  step(by) {
    const at = this.items.indexOf(this.current) + by;
    if (at < 0 || at >= this.items.length) return;
    this.show(this.items[at]);
    byId('cases').querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest' });
  }

  arrows(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by || event.target.type === 'checkbox') return;
    event.preventDefault();
    this.step(by);
    byId('cases').querySelector('[aria-current]')?.focus();
  }

  /** Select the submission in view, or let it go. */
  toggle(item = this.current) {
    if (!item) return;
    const id = item.submission_id;
    if (!this.selected.delete(id)) this.selected.add(id);
    this.draw();
  }

  selectAll(wanted) {
    this.selected = new Set(wanted ? this.items.map((item) => item.submission_id) : []);
    this.draw();
  }

  draw() {
    const focused = document.activeElement?.closest?.('#cases li')?.dataset.id;
    const wasTick = document.activeElement?.type === 'checkbox';
    byId('cases').replaceChildren(...this.items.map((item) => this.entry(item)));
    const count = this.items.length;
    byId('all').checked = count > 0 && this.selected.size === count;
    byId('all').indeterminate = this.selected.size > 0 && this.selected.size < count;
    byId('all').disabled = count === 0;
    byId('waiting-count').textContent = count
      ? `${count}${this.next ? ' or more' : ''} waiting` : 'Nothing waits';
    byId('cases-none').hidden = count > 0 || this.next != null;
    byId('cases-none').textContent = 'Nothing waits for a decision. What is suspicious will be here.';
    byId('cases-more').hidden = this.next == null;
    byId('bulk').hidden = this.selected.size === 0;
    byId('bulk-count').textContent = `${this.selected.size} selected`;
    if (focused) {
      const row = byId('cases').querySelector(`[data-id="${focused}"]`);
      row?.querySelector(wasTick ? 'input' : 'button')?.focus({ preventScroll: true });
    }
  }

  entry(item) {
    const id = item.submission_id;
    const shown = item === this.current;
    const box = make('input', {
      type: 'checkbox', 'aria-label': `Select submission ${id}`, onchange: () => this.toggle(item),
    });
    box.checked = this.selected.has(id);
    const open = make('button.entry', {
      type: 'button', 'aria-current': shown && 'true', onclick: () => this.show(item),
    },
    make('span.entry-title', null, `${id} · ${item.user}`),
    make('span.entry-score', null, item.score.toFixed(2)),
    make('span.entry-note', null, noteOf(item)));
    return make('li', { 'data-id': id }, box, open);
  }

  /**
   * Decide about submissions, and take those that were decided off the list.
   * @param {'accept'|'reject'} decision
   * @param {object[]} items
   * @param {string} why
   */
  async decide(decision, items, why) {
    if (this.busy || !items.length) return;
    const decisions = items.map((item) => ({
      submission_id: item.submission_id,
      decision,
      why: why.trim() || DEFAULT_WHY[decision],
      seen: item.updated_at,
    }));
    const results = await this.whileBusy(() => sendAll(decisions));
    this.settle(decision, items, results);
  }

  /** Take no decision while another is on its way, or what is shown may be out of date. */
  async whileBusy(act) {
    this.busy = true;
    byId('cases').setAttribute('aria-busy', 'true');
    try {
      return await act();
    } finally {
      this.busy = false;
      byId('cases').setAttribute('aria-busy', 'false');
    }
  }

  settle(decision, items, results) {
    const refused = results.filter((result) => result.problem);
    const done = items.filter((item, index) => !results[index].problem);
    const at = this.items.indexOf(this.current);
    const gone = new Set(done);
    const after = this.items.slice(Math.max(at, 0)).find((item) => !gone.has(item));
    this.items = this.items.filter((item) => !gone.has(item));
    for (const item of done) this.selected.delete(item.submission_id);
    this.show(gone.has(this.current) ? after ?? this.items.at(-1) ?? null : this.current);
    const detail = { decision, word: DONE[decision], done, refused };
    this.dispatchEvent(new CustomEvent('decided', { detail }));
    if (!this.items.length && this.next != null) this.more().catch(() => {});
  }
}

/** Send decisions, as many at once as one call takes. */
async function sendAll(decisions) {
  const results = [];
  for (let at = 0; at < decisions.length; at += MOST_AT_ONCE) {
    const body = { decisions: decisions.slice(at, at + MOST_AT_ONCE) };
    const told = await ask('v1/review', { method: 'POST', body });
    results.push(...told.results);
  }
  return results;
}

function noteOf(item) {
  const settles = Math.round(item.frees);
  return [changesOf(item), settles > 1 && `settles ${settles}`].filter(Boolean).join(' · ');
}

function changesOf(item) {
  if (item.proposal) return 'proposed: accept';
  const counts = new Map();
  for (const { kind } of item.changes) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  counts.delete('kept');
  return [...counts].map(([kind, count]) => `${count} ${kind}`).join(', ') || 'nothing changed';
}
