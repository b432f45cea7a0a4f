/**
 * The boxes over a photo. They are placed in shares of the photo and drawn by the browser, so they
 * are crisp at any zoom. One box can be reached with Tab, the others from there with arrow keys.
 */

import { colourOf } from './palette.js';
import { leaveOneStop, rove } from './selection.js';
import { percent } from './words.js';

const MOST_WITH_NUMBERS = 24;
const NEAR_PX = 6;
const TAG_ROOM = 0.06;

/** The layer of boxes. */
export class Boxes {
  /**
   * @param {HTMLElement} layer
   * @param {import('./selection.js').Selection} selection
   */
  constructor(layer, selection) {
    this.layer = layer;
    this.selection = selection;
    /** @type {HTMLElement[]} by place in the answer */
    this.boxes = [];
    this.detections = [];
    rove(layer, () => this.shown());
    selection.addEventListener('change', () => this.mark());
    layer.addEventListener('pointermove', (event) => this.point(event));
    layer.addEventListener('pointerleave', () => selection.point(-1));
    layer.addEventListener('click', (event) => this.click(event));
    layer.addEventListener('focusin', (event) => selection.point(this.indexOf(event.target)));
    layer.addEventListener('focusout', () => selection.point(-1));
  }

  /**
   * Draw the boxes of an answer, in place of those before.
   * @param {?import('./api.js').Answer} answer
   */
  draw(answer) {
    this.detections = answer?.detections ?? [];
    this.boxes = this.detections.map((detection, index) => boxOf(detection, index, answer.image));
    this.layer.replaceChildren(...this.boxes);
  }

  /**
   * Show the first so many: an answer is sorted by confidence.
   * @param {number} count
   */
  showFirst(count) {
    this.boxes.forEach((box, index) => { box.hidden = index >= count; });
    this.layer.classList.toggle('many', count > MOST_WITH_NUMBERS);
    leaveOneStop(this.shown(), this.boxes[this.selection.chosen]);
    this.mark();
  }

  /** @returns {HTMLElement[]} */
  shown() {
    return this.boxes.filter((box) => !box.hidden);
  }

  mark() {
    const { meant, chosen } = this.selection;
    this.layer.classList.toggle('pointed', meant >= 0);
    this.boxes.forEach((box, index) => {
      box.classList.toggle('meant', index === meant);
      box.setAttribute('aria-pressed', String(index === chosen));
    });
  }

  indexOf(element) {
    return this.boxes.indexOf(element.closest('.box'));
  }

  point(event) {
    const index = this.at(event);
    this.layer.classList.toggle('over', index >= 0);
    this.selection.point(index);
  }

  /** A click of the mouse is judged by where it is, one of the keyboard by what has the focus. */
  click(event) {
    const byKey = event.detail === 0;
    const index = byKey ? this.indexOf(event.target) : this.at(event);
    if (index >= 0) this.selection.choose(index);
    else this.selection.clear();
  }

  /** The smallest box there, with some room around thin ones; so a box within a box can be had. */
  at(event) {
    const bounds = this.layer.getBoundingClientRect();
    const x = event.clientX - bounds.left;
    const y = event.clientY - bounds.top;
    let best = -1;
    let least = Infinity;
    this.boxes.forEach((box, index) => {
      if (box.hidden) return;
      const { offsetLeft: left, offsetTop: top, offsetWidth: width, offsetHeight: height } = box;
      const inside = x >= left - NEAR_PX && x <= left + width + NEAR_PX
        && y >= top - NEAR_PX && y <= top + height + NEAR_PX;
      if (inside && width * height < least) {
        best = index;
        least = width * height;
      }
    });
    return best;
  }
}

function boxOf(detection, index, image) {
  const { x1, y1, x2, y2 } = detection.box;
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'box';
  button.style.left = share(x1, image.width);
  button.style.top = share(y1, image.height);
  button.style.width = share(x2 - x1, image.width);
  button.style.height = share(y2 - y1, image.height);
  button.style.setProperty('--mark', colourOf(detection.class_id));
  button.classList.toggle('tag-inside', y1 / image.height < TAG_ROOM);
  button.classList.toggle('tag-right', (x1 + x2) / 2 / image.width > 0.6);
  button.setAttribute('aria-label', nameOf(detection, index));
  button.append(tag('number', index + 1), tag('label', labelOf(detection)));
  return button;
}

function share(part, whole) {
  return `${(part / whole) * 100}%`;
}

function tag(kind, text) {
  const span = document.createElement('span');
  span.className = kind;
  span.textContent = text;
  return span;
}

/**
 * What a box is, such as `scratch 87 %`.
 * @param {import('./api.js').Detection} detection
 * @returns {string}
 */
export function labelOf(detection) {
  return `${detection.class_name} ${percent(detection.confidence)}`;
}

/**
 * What a box is called for those who cannot see it.
 * @param {import('./api.js').Detection} detection
 * @param {number} index
 * @returns {string}
 */
export function nameOf(detection, index) {
  return `${index + 1}: ${labelOf(detection)}`;
}
