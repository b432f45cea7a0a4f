/** A photo twice, side by side: with the boxes that were predicted, and with those submitted.
 * Where the contributor saw other boxes than the prediction that the answer is compared with, the
 * left side can show these instead.
 */

import { drawn, make } from './build.js';
import { tagOf } from './marks.js';
import { counted } from './words.js';

const TAG_ROOM = 0.08;

/**
 * Draw both sides of a submission.
 * @param {object} item of the queue
 * @param {import('./marks.js').Mark[]} marks
 * @returns {HTMLElement}
 */
export function plates(item, marks) {
  return make('div.plates', null,
    item.shown ? reference(item, marks) : plate(item, marks, 'predicted', 'Predicted'),
    plate(item, marks, 'submitted', 'Submitted'));
}

/** The reference, with a button that shows what the contributor saw in its place. */
function reference(item, marks) {
  const sides = [plate(item, marks, 'predicted', 'Predicted'), seenPlate(item)];
  const button = make('button.plain', { type: 'button', 'aria-pressed': 'false' }, 'Show what the contributor saw');
  button.addEventListener('click', () => {
    const seen = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(seen));
    sides.forEach((side, index) => { side.hidden = (index === 1) !== seen; });
  });
  sides[1].hidden = true;
  return make('div.reference', null, ...sides, make('p.reference-switch', null, button));
}

function seenPlate(item) {
  const shapes = item.shown.map(({ box }) => ({ box, kind: 'shown', tag: '', number: null }));
  return figure(item, 'Seen by the contributor', shapes);
}

function plate(item, marks, side, title) {
  const boxes = item[side];
  const shapes = marks.filter((mark) => mark.change[side] != null).map((mark) => ({
    box: boxes[mark.change[side]].box, kind: mark.kind, tag: tagOf(mark), number: mark.number,
  }));
  return figure(item, title, shapes);
}

function figure(item, title, shapes) {
  const count = shapes.length ? counted(shapes.length, 'box') : 'no boxes';
  return make('figure.plate', null,
    make('figcaption', null, make('strong', null, title), ` ${count}`),
    item.image ? photo(item.image, `${title}: ${count}`, shapes) : make('p.no-photo', null, 'No picture was kept.'));
}

/**
 * A photo with boxes drawn over it.
 * @param {{url: string, width: number, height: number}} image
 * @param {string} title what it shows, for who does not see it
 * @param {Shape[]} shapes
 * @returns {HTMLElement}
 *
 * @typedef {{box: import('./api.js').Box, kind: string, tag: string, number?: ?number}} Shape
 *   `kind` names the way to draw it; `number` is what `bringOut` knows it by
 */
export function photo(image, title, shapes) {
  const { width, height, url } = image;
  const frame = make('div.photo');
  frame.style.aspectRatio = `${width} / ${height}`;
  frame.style.setProperty('--ratio', width / height);
  const layer = drawn('svg.drawing', {
    viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true',
  }, ...shapes.flatMap(lines));
  const tags = shapes.filter((shape) => shape.tag).map((shape) => tag(shape, image));
  const shown = make('img', { src: url, alt: title, width, height, decoding: 'async', loading: 'lazy' });
  shown.addEventListener('error', () => frame.classList.add('blind'));
  frame.append(shown, layer, ...tags);
  return frame;
}

/** A box twice: a dark halo, so that it is seen on any photo, and its line. */
function lines({ box: { x1, y1, x2, y2 }, kind, number }) {
  const at = { x: x1, y: y1, width: x2 - x1, height: y2 - y1, 'vector-effect': 'non-scaling-stroke' };
  const made = [drawn('rect.halo', at), drawn(`rect.mark.${kind}`, at)];
  if (kind === 'removed') {
    const ends = { x1, y1, x2, y2, 'vector-effect': 'non-scaling-stroke' };
    made.push(drawn('line.mark.removed', ends));
  }
  for (const line of made) line.dataset.mark = String(number);
  return made;
}

function tag({ box, kind, tag: text, number }, { width, height }) {
  const made = make(`span.tag.${kind}`, { 'aria-hidden': 'true' }, text);
  made.dataset.mark = String(number);
  const inside = box.y1 / height < TAG_ROOM;
  made.style.left = `${Math.min(Math.max(box.x1 / width, 0), 0.94) * 100}%`;
  made.style.top = `${Math.min(Math.max(box.y1 / height, 0), 0.95) * 100}%`;
  made.classList.toggle('inside', inside);
  return made;
}

/**
 * Bring one mark out on both sides; none without a number.
 * @param {HTMLElement} within
 * @param {?number} number
 */
export function bringOut(within, number) {
  for (const each of within.querySelectorAll('[data-mark]')) {
    each.classList.toggle('meant', number != null && each.dataset.mark === String(number));
    each.classList.toggle('faded', number != null && each.dataset.mark !== String(number));
  }
}
