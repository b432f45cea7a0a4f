/** The boxes as a list beside the photo, and the edges of the chosen one in numbers. */

import { colourOf } from './palette.js';
import { leaveOneStop, rove } from './selection.js';

const EDGES = ['x1', 'y1', 'x2', 'y2'];
const byId = (id) => document.getElementById(id);

/** Fires `choose` (an id), `remove` (an id), `edges` (`{id, edges}`). */
export class BoxList extends EventTarget {
  constructor() {
    super();
    this.list = byId('list');
    this.rows = new Map();
    this.chosen = null;
    rove(this.list, () => [...this.rows.values()], (row) => this.tell('choose', row.dataset.id));
    this.list.addEventListener('click', (event) => {
      const row = event.target.closest('.row');
      if (row) this.tell('choose', row.dataset.id);
    });
    this.list.addEventListener('keydown', (event) => {
      if (event.key !== 'Delete' && event.key !== 'Backspace') return;
      event.preventDefault();
      this.removeFocused();
    });
    byId('delete').addEventListener('click', () => this.tell('remove', this.chosen.id));
    for (const edge of EDGES) {
      byId(edge).addEventListener('change', () => this.edgesGiven());
      byId(edge).addEventListener('focus', () => byId(edge).select());
    }
  }

  /**
   * Show these boxes.
   * @param {import('./draft.js').Draft} draft
   * @param {?string} chosen
   * @param {Map<string, string>} faults what the service found wrong, by the box's id
   */
  draw(draft, chosen, faults) {
    const focused = this.list.contains(document.activeElement);
    this.rows = new Map(draft.boxes.map((box, index) => {
      const row = this.rowFor(box, index, draft.changeOf(box), faults.get(box.id));
      row.setAttribute('aria-pressed', String(box.id === chosen));
      return [box.id, row];
    }));
    this.place([...this.rows.values()].map((row) => row.parentElement));
    this.list.hidden = !this.rows.size;
    byId('nothing').hidden = Boolean(this.rows.size);
    leaveOneStop([...this.rows.values()], this.rows.get(chosen));
    const row = this.rows.get(chosen);
    if (focused) (row ?? [...this.rows.values()][0])?.focus();
    else if (row) keepInSight(this.list, row);
    this.drawEdges(draft, chosen);
  }

  /** The row of before where it would be the same: there may be a thousand. */
  rowFor(box, index, change, fault) {
    const told = [index, box.classId, box.x2 - box.x1, box.y2 - box.y1, change, fault].join();
    const before = this.rows.get(box.id);
    if (before?.told === told) return before;
    const row = rowOf(box, index, change, fault);
    row.told = told;
    return row;
  }

  place(items) {
    const same = items.length === this.list.children.length
      && items.every((item, index) => item === this.list.children[index]);
    if (!same) this.list.replaceChildren(...items);
  }

  drawEdges(draft, chosen) {
    this.chosen = draft.find(chosen);
    byId('edges').hidden = !this.chosen;
    if (!this.chosen) return;
    byId('edges-title').textContent = `Edges of box ${draft.boxes.indexOf(this.chosen) + 1}, in pixels`;
    this.showEdges(this.chosen);
  }

  /**
   * Show edges in numbers, such as during a drag.
   * @param {{x1: number, y1: number, x2: number, y2: number}} edges
   */
  showEdges(edges) {
    for (const edge of EDGES) byId(edge).value = Math.round(edges[edge] * 100) / 100;
  }

  /** Only what was typed over is taken: what is shown may have fewer digits than there are. */
  edgesGiven() {
    const { chosen } = this;
    const edges = {};
    for (const edge of EDGES) {
      const given = byId(edge).valueAsNumber;
      const shown = Math.round(chosen[edge] * 100) / 100;
      edges[edge] = Number.isNaN(given) || given === shown ? chosen[edge] : given;
    }
    this.tell('edges', { id: chosen.id, edges });
  }

  removeFocused() {
    const rows = [...this.rows.values()];
    const row = document.activeElement;
    const next = rows[rows.indexOf(row) + 1] ?? rows[rows.indexOf(row) - 1];
    this.tell('remove', row.dataset.id);
    if (next) this.tell('choose', next.dataset.id);
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Scroll a list to a row of it, and nothing else on the page. */
function keepInSight(list, row) {
  const top = row.offsetTop - list.offsetTop;
  if (top < list.scrollTop) list.scrollTop = top;
  const bottom = top + row.offsetHeight - list.clientHeight;
  if (bottom > list.scrollTop) list.scrollTop = bottom;
}

function rowOf(box, index, change, fault) {
  const item = document.createElement('li');
  const row = document.createElement('button');
  row.type = 'button';
  row.className = 'row label-row';
  row.dataset.id = box.id;
  row.style.setProperty('--mark', colourOf(box.classId));
  const size = `${pixels(box.x2 - box.x1)} × ${pixels(box.y2 - box.y1)} px`;
  const told = fault ? `at fault: ${fault}` : change;
  row.setAttribute('aria-label', `${index + 1}: ${box.className}, ${size}, ${told}`);
  row.append(
    cell('row-number', index + 1),
    cell('row-name', box.className),
    cell('row-size', size),
    cell(fault ? 'row-change fault' : 'row-change', fault ? 'at fault' : change),
  );
  item.append(row);
  if (fault) item.append(cell('row-fault', fault));
  return row;
}

function pixels(length) {
  return Math.round(length * 10) / 10;
}

function cell(kind, text) {
  const span = document.createElement('span');
  span.className = kind;
  span.textContent = text;
  return span;
}
