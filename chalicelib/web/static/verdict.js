/** What the gate measured: the new version beside the one that served then, on the same images. */

import { facts, make } from './build.js';

/**
 * @param {object} verdict of a job
 * @returns {HTMLElement} folded up: the outcome says the same in words
 */
export function verdictOf(verdict) {
  const { 'mAP50-95': whole, mAP50: half, classes = [], parity } = verdict;
  const rows = [['mAP50-95', whole], ['mAP50', half]].filter(([, both]) => both)
    .map(([title, both]) => row(title, both));
  rows.push(...classes.map((each) => row(each.class_name, each, each.boxes)));
  return make('details', null, make('summary', null, 'What the gate measured'),
    rows.length > 0 && table(verdict.live_version, rows),
    facts([
      ['Measured on', verdict.images == null ? null : `${verdict.images} validation images`],
      ['Of these look different', verdict.groups],
      ['True change of mAP50-95', between(verdict)],
      ['mAP50-95 has to rise by more than', verdict.margin],
      ['No class may fall by more than', verdict.class_tolerance],
      ['Outputs of file and weights differ by', parity ? Number(parity.largest_difference.toPrecision(2)) : null],
    ]));
}

/** Say between what the true change lies; null where nothing says so. */
function between({ gain, confidence, live_version: live }) {
  if (!gain || live == null) return null;
  if (gain.low == null) return 'too few images to tell';
  const ends = [gain.low, gain.high].map((end) => `${end < 0 ? '−' : '+'}${Math.abs(end).toFixed(3)}`);
  return `${ends.join(' to ')}, with a confidence of ${confidence}`;
}

function table(live, rows) {
  const heads = ['AP50-95', live == null ? 'Before' : `Version ${live}`, 'New', 'Change', 'Boxes'];
  return make('div.table', { tabindex: 0, role: 'group', 'aria-label': 'Figures of the gate' }, make('table', null,
    make('thead', null, make('tr', null, ...heads.map((head) => make('th', { scope: 'col' }, head)))),
    make('tbody', null, ...rows)));
}

function row(title, { new: now, live: before }, boxes) {
  return make('tr', null, make('th', { scope: 'row' }, title),
    make('td', null, share(before)), make('td', null, share(now)), change(before, now),
    make('td', null, boxes ?? ''));
}

function share(value) {
  return value == null ? 'not measured' : value.toFixed(3);
}

/**
 * A cell that tells by how much a figure rose or fell.
 * @param {?number} before
 * @param {?number} now
 * @returns {HTMLElement}
 */
export function change(before, now) {
  if (before == null || now == null) return make('td', null, '–');
  const by = Math.round((now - before) * 1000) / 1000;
  if (!by) return make('td', null, 'none');
  return make(`td.${by > 0 ? 'good' : 'bad'}`, null, `${by > 0 ? '+' : '−'}${Math.abs(by).toFixed(3)}`);
}
