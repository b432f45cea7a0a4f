/**
 * Boxes over a photo that can be drawn, moved and resized by pointer. The library does the drawing and
 * the handles; what it hands over is brought to whole pixels and into the photo here.
 *
 * Annotorious was made for regions on pictures on a screen: it takes nothing under 16 units for a
 * box. So it is given sixteenths of pixels as units, and what is too small is judged here, by how far
 * the pointer went on the screen.
 */

import './vendor/annotorious.js';
import { colourOf } from './palette.js';

const UNITS = 16;
const CLICK_PX = 4;
const NEAR_PX = { mouse: 6, touch: 16 };
const SAME = 1e-3;
const EDGES = ['x1', 'y1', 'x2', 'y2'];
const NAME = 'Photo with boxes: A makes a box, N and P go from one to the next, arrow keys move it';

/**
 * Fires `drawn` (detail: edges), `changed` (`{id, edges}`) at the end of a drag, `changing` during
 * it, and `choose` (detail: the id of a box, or null).
 */
export class Canvas extends EventTarget {
  /** @param {import('./viewport.js').Viewport} viewport around a frame with a photo in it */
  constructor(viewport) {
    super();
    this.viewport = viewport;
    this.frame = viewport.frame;
    this.image = this.frame.querySelector('img');
    this.sheet = new CSSStyleSheet();
    document.adoptedStyleSheets.push(this.sheet);
    this.annotator = null;
    /** @type {import('./draft.js').LabelBox[]} as they are drawn */
    this.boxes = [];
    /** @type {?string} */
    this.chosen = null;
    this.drawingAllowed = true;
    this.frame.addEventListener('pointerdown', (event) => this.down(event), { capture: true });
    this.frame.addEventListener('pointerup', (event) => this.up(event), { capture: true });
    this.frame.addEventListener('pointercancel', () => this.restore());
    viewport.addEventListener('hold', () => this.interrupt());
    viewport.addEventListener('release', ({ detail }) => this.released(detail));
  }

  /**
   * Begin anew with the photo that is in the frame.
   * @param {{width: number, height: number}} size in its pixels
   */
  open(size) {
    this.close();
    this.size = size;
    this.annotator = globalThis.Annotorious.createImageAnnotator(this.image, {
      drawingEnabled: this.drawingAllowed,
      userSelectAction: 'NONE', // which one a click means is judged here
    });
    this.layer = this.frame.querySelector('.a9s-annotationlayer');
    this.layer.setAttribute('viewBox', `0 0 ${size.width * UNITS} ${size.height * UNITS}`);
    this.layer.setAttribute('preserveAspectRatio', 'none');
    this.layer.setAttribute('aria-label', NAME);
    this.watch = new MutationObserver(() => this.hideHandles());
    this.watch.observe(this.layer, { childList: true, subtree: true });
    this.annotator.state.store.observe(({ changes }) => this.observe(changes));
  }

  /** Let go of the photo. */
  close() {
    this.watch?.disconnect();
    this.annotator?.destroy();
    this.annotator = null;
    this.boxes = [];
    this.chosen = null;
  }

  /** The handles call themselves buttons, but no key does anything to them: ours are on the layer. */
  hideHandles() {
    for (const handle of this.layer.querySelectorAll('.a9s-handle-buffer[role]')) {
      handle.removeAttribute('role');
      handle.removeAttribute('tabindex');
    }
  }

  /** Give the photo the focus of the keyboard. */
  focus() {
    this.layer?.focus({ preventScroll: true });
  }

  /** @param {boolean} allowed whether a drag draws a box */
  allowDrawing(allowed) {
    this.drawingAllowed = allowed;
    this.frame.classList.toggle('drawing', allowed);
    this.annotator?.setDrawingEnabled(allowed);
  }

  /**
   * Draw these boxes, one of which is chosen.
   * @param {import('./draft.js').LabelBox[]} boxes
   * @param {?string} chosen
   * @param {Set<string>} faulty those that the service found fault with
   */
  draw(boxes, chosen, faulty = new Set()) {
    const before = new Map(this.boxes.map((box) => [box.id, box]));
    const now = new Set(boxes.map(({ id }) => id));
    this.quietly(() => {
      for (const id of before.keys()) if (!now.has(id)) this.annotator.removeAnnotation(id);
      for (const box of boxes) {
        const old = before.get(box.id);
        if (!old) this.annotator.addAnnotation(annotationOf(box));
        else if (!sameEdges(old, box)) this.annotator.updateAnnotation(annotationOf(box));
      }
    });
    this.boxes = boxes;
    this.colour(boxes, faulty);
    this.choose(chosen);
  }

  /** Colours go into a style sheet: the page's policy lets nobody write style attributes. */
  colour(boxes, faulty) {
    const rules = boxes.map(({ id, classId }) => {
      const bad = faulty.has(id) ? '--dash:6 4;' : '';
      return `.a9s-annotation[data-id="${id}"]{--mark:${colourOf(classId)};${bad}}`;
    });
    const text = rules.join('');
    if (text !== this.colours) this.sheet.replaceSync(text);
    this.colours = text;
  }

  choose(id) {
    this.chosen = id;
    const box = this.boxes.find((each) => each.id === id);
    this.frame.style.setProperty('--chosen', colourOf(box?.classId ?? 0));
    const { selected } = this.annotator.state.selection;
    if (selected.length === (box ? 1 : 0) && (!box || selected[0].id === id)) return;
    if (box) this.annotator.setSelected(id, true);
    else this.annotator.cancelSelected();
  }

  quietly(act) {
    this.quiet = true;
    act();
    this.quiet = false;
  }

  /** Note what the library changes at the hand of a person. */
  observe({ created, updated }) {
    if (this.quiet) return;
    if (created?.length) this.drawn = created[0];
    const moved = updated?.find(({ newValue }) => newValue.id === this.chosen);
    if (!moved) return;
    const before = this.boxes.find(({ id }) => id === this.chosen);
    const edges = settled(before, edgesOf(moved.newValue), this.size);
    this.changed = { id: this.chosen, edges };
    this.tell('changing', this.changed);
  }

  /** Outside of the chosen box a drag draws: the library does so only while none is selected. */
  down(event) {
    if (!this.annotator || event.button !== 0) return;
    this.began = { x: event.clientX, y: event.clientY };
    if (event.target.closest('.a9s-annotation.selected')) return;
    this.annotator.cancelSelected();
    if (this.drawingAllowed) this.layer.setPointerCapture(event.pointerId);
  }

  /** The library lets no event out once it has drawn, so it is seen first and judged afterwards. */
  up(event) {
    const { began } = this;
    this.began = null;
    if (began) setTimeout(() => this.settle(event, began));
  }

  settle(event, began) {
    if (!this.annotator) return;
    const far = Math.hypot(event.clientX - began.x, event.clientY - began.y);
    const { drawn, changed } = this;
    this.forget();
    if (drawn) this.quietly(() => this.annotator.removeAnnotation(drawn.id));
    if (far < CLICK_PX) this.click(event);
    else if (drawn) this.tell('drawn', roundedOut(edgesOf(drawn), this.size));
    else if (changed) this.tell('changed', changed);
    else this.restore();
  }

  forget() {
    this.drawn = null;
    this.changed = null;
  }

  click(event) {
    const hit = this.at(event);
    this.restore(hit);
    this.tell('choose', hit);
    this.focus();
  }

  /** The smallest box there, with some room around thin ones; so a box within a box can be had. */
  at(event) {
    const { x, y } = this.viewport.toPhoto(event);
    const near = (NEAR_PX[event.pointerType] ?? NEAR_PX.mouse) / this.viewport.scale;
    const hit = this.boxes.filter((box) => x >= box.x1 - near && x <= box.x2 + near
      && y >= box.y1 - near && y <= box.y2 + near);
    const area = (box) => (box.x2 - box.x1) * (box.y2 - box.y1);
    return hit.sort((a, b) => area(a) - area(b))[0]?.id ?? null;
  }

  /** Fingers or a drag take the photo over: what had begun is off. */
  interrupt() {
    if (!this.annotator) return;
    this.began = null;
    this.forget();
    this.quietly(() => this.annotator.cancelDrawing());
    this.annotator.cancelSelected();
  }

  /** @returns {boolean} whether a drag was going on, which is taken back */
  cancel() {
    if (!this.began) return false;
    this.interrupt();
    this.restore();
    return true;
  }

  released({ event, travelled }) {
    if (!this.annotator) return;
    this.restore();
    if (travelled < CLICK_PX && this.frame.contains(event.target)) this.click(event);
  }

  /** Draw everything as it was before the drag that is going on. */
  restore(chosen = this.chosen) {
    if (!this.annotator) return;
    this.forget();
    this.quietly(() => {
      for (const { id } of this.annotator.getAnnotations()) {
        const box = this.boxes.find((each) => each.id === id);
        if (!box) this.annotator.removeAnnotation(id);
        else if (!sameEdges(edgesOf(this.annotator.getAnnotationById(id)), box)) {
          this.annotator.updateAnnotation(annotationOf(box));
        }
      }
    });
    this.annotator.cancelSelected();
    this.choose(chosen);
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function annotationOf({ id, ...box }) {
  const [minX, minY, maxX, maxY] = EDGES.map((edge) => box[edge] * UNITS);
  const bounds = { minX, minY, maxX, maxY };
  const geometry = { x: minX, y: minY, w: maxX - minX, h: maxY - minY, rot: 0, bounds };
  const selector = { type: 'RECTANGLE', geometry };
  return { id, bodies: [], target: { annotation: id, selector } };
}

function edgesOf(annotation) {
  const { x, y, w, h } = annotation.target.selector.geometry;
  return { x1: x / UNITS, y1: y / UNITS, x2: (x + w) / UNITS, y2: (y + h) / UNITS };
}

function sameEdges(a, b) {
  return EDGES.every((edge) => Math.abs(a[edge] - b[edge]) < SAME);
}

/** A drawn box, with every pixel that it was drawn over by half or more; one at least. */
function roundedOut(edges, size) {
  const [x1, x2] = rounded(edges.x1, edges.x2, size.width);
  const [y1, y2] = rounded(edges.y1, edges.y2, size.height);
  return { x1, y1, x2, y2 };
}

function rounded(from, to, length) {
  const inside = (at) => Math.min(Math.max(at, 0), length);
  const [first, last] = [Math.round(inside(from)), Math.round(inside(to))];
  if (last > first) return [first, last];
  const only = Math.min(Math.floor(inside(from)), length - 1);
  return [only, only + 1];
}

/**
 * A box after a drag: moved by whole pixels, or with the edges that were moved on whole pixels; those
 * that were not touched stay as they are, to the last digit.
 */
function settled(before, after, size) {
  const [x1, x2] = settledPair(before.x1, before.x2, after.x1, after.x2, size.width);
  const [y1, y2] = settledPair(before.y1, before.y2, after.y1, after.y2, size.height);
  return { x1, y1, x2, y2 };
}

function settledPair(first, last, newFirst, newLast, length) {
  const [byFirst, byLast] = [newFirst - first, newLast - last];
  if (Math.abs(byFirst - byLast) < SAME) return shifted(first, last, Math.round(byFirst), length);
  const keep = (old, now) => (Math.abs(now - old) < SAME ? old : Math.round(now));
  const from = Math.min(Math.max(keep(first, newFirst), 0), length);
  const to = Math.min(Math.max(keep(last, newLast), 0), length);
  if (to - from >= 1) return [from, to];
  return from === first ? [from, Math.min(from + 1, length)] : [Math.max(to - 1, 0), to];
}

/**
 * Move a pair of edges as far as the photo goes.
 * @param {number} first
 * @param {number} last
 * @param {number} by
 * @param {number} length of the photo in that direction
 * @returns {[number, number]}
 */
export function shifted(first, last, by, length) {
  if (first + by < 0) return [0, last - first];
  if (last + by > length) return [length - (last - first), length];
  return [first + by, last + by];
}
