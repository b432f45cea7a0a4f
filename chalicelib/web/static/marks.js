/** What became of a box, in a word, a sign and a way to draw it: never by colour alone. */

import { percent } from './words.js';

/** Kinds of changes, those that matter most first. */
export const KINDS = ['removed', 'added', 'relabelled', 'moved', 'kept'];

const SIGNS = { removed: '−', added: '+', relabelled: '≠', moved: '↔', kept: '=' };

/**
 * @typedef {{kind: string, predicted: ?number, submitted: ?number, iou: number}} Change
 * @typedef {{number: ?number, sign: string, kind: string, words: string, change: Change}} Mark
 */

/**
 * Number the changes of a submission, those that matter most first; boxes kept have no number.
 * @param {{changes: Change[], predicted: object[], submitted: object[]}} item
 * @returns {Mark[]}
 */
export function marksOf(item) {
  const sorted = [...item.changes].sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
  return sorted.map((change, index) => ({
    number: change.kind === 'kept' ? null : index + 1,
    sign: SIGNS[change.kind],
    kind: change.kind,
    words: wordsOf(change, item),
    change,
  }));
}

/**
 * @param {Mark} mark
 * @returns {string} what its tag on the picture says
 */
export function tagOf(mark) {
  return mark.number ? `${mark.sign}${mark.number}` : mark.sign;
}

function wordsOf(change, item) {
  const was = item.predicted[change.predicted];
  const now = item.submitted[change.submitted];
  const place = placeOf((now ?? was).box, item.image);
  if (change.kind === 'removed') return `${nameOf(was)} removed, ${place}`;
  if (change.kind === 'added') return `${nameOf(now)} added, ${place}`;
  if (change.kind === 'relabelled') return `${nameOf(was)} made ${nameOf(now)}, ${place}`;
  const overlap = `${percent(change.iou)} overlap`;
  if (change.kind === 'moved') return `${nameOf(now)} moved, ${overlap}, ${place}`;
  return `${nameOf(now)} kept, ${place}`;
}

function nameOf(box) {
  return box.class_name || `class ${box.class_id}`;
}

/** Where a box is, for those who cannot see it, and how large. */
function placeOf(box, image) {
  const size = `${Math.round(box.x2 - box.x1)} × ${Math.round(box.y2 - box.y1)} px`;
  if (!image) return size;
  const across = third((box.x1 + box.x2) / 2 / image.width, ['left', 'middle', 'right']);
  const down = third((box.y1 + box.y2) / 2 / image.height, ['top', 'centre', 'bottom']);
  return `${down} ${across}, ${size}`;
}

function third(share, [first, second, last]) {
  if (share < 1 / 3) return first;
  return share < 2 / 3 ? second : last;
}
