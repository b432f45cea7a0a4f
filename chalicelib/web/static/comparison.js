/** Two versions of a model, side by side: in figures, and on images where they differ. */

import { make } from './build.js';
import { curves } from './curves.js';
import { photo } from './plates.js';
import { change } from './verdict.js';
import { bytes, counted, duration } from './words.js';

const LEAST_OVERLAP = 0.5;
const WHOLE = [
  ['mAP50-95', 'map50_95'],
  ['mAP50', 'map50'],
  ['Precision', 'precision'],
  ['Recall', 'recall'],
  ['F1', 'f1'],
];

/**
 * @param {object} told what the API answers
 * @returns {HTMLElement}
 */
export function comparison({ a, b, curves: told, images, images_compared: compared }) {
  const sample = images.length
    ? `Of ${counted(compared, 'validation image')} that both looked at, those where they differ most.`
    : `On ${counted(compared, 'validation image')} both found the same.`;
  return make('div.comparison', null,
    table(a, b),
    curves(told, a, b),
    make('h4', null, 'On images'),
    make('p.soft', null, sample),
    images.length > 0 && key(),
    make('ol.pairs', null, ...images.map((image) => make('li', null, pair(image, a, b)))));
}

function table(a, b) {
  const rows = WHOLE.filter(([, name]) => a[name] != null || b[name] != null)
    .map(([title, name]) => row(title, a[name], b[name]));
  rows.push(plain('Time for an image', a.ms_per_image, b.ms_per_image, duration),
    plain('File', a.bytes, b.bytes, bytes));
  return make('div.table', { tabindex: 0, role: 'group', 'aria-label': 'Figures of both' }, make('table', null,
    make('thead', null, make('tr', null, ...['', `Version ${a.version}`, `Version ${b.version}`, 'Change']
      .map((title) => (title ? make('th', { scope: 'col' }, title) : make('td'))))),
    make('tbody', null, ...rows, ...classRows(a, b))));
}

/** Classes, the one that lost most first. */
function classRows(a, b) {
  const before = new Map(a.classes.map((each) => [each.class_id, each]));
  const rise = ({ class_id: id, ap50_95: now }) => (now ?? 0) - (before.get(id)?.ap50_95 ?? 0);
  return [...b.classes].sort((one, other) => rise(one) - rise(other))
    .map((each) => row(`${each.class_name}, AP50-95`, before.get(each.class_id)?.ap50_95, each.ap50_95));
}

function row(title, was, now) {
  return make('tr', null, make('th', { scope: 'row' }, title),
    make('td', null, share(was)), make('td', null, share(now)), change(was, now));
}

function share(value) {
  return value == null ? 'not measured' : value.toFixed(3);
}

function plain(title, was, now, words) {
  const cell = (value) => make('td', null, value == null ? 'not measured' : words(value));
  return make('tr', null, make('th', { scope: 'row' }, title), cell(was), cell(now), make('td', null, ''));
}

function key() {
  return make('p.soft.key-of-boxes', null,
    make('span.tag.right', null, '✓'), ' found and there ', make('span.tag.wrong', null, '✗'), ' found, not there ',
    make('span.tag.missed', null, '?'), ' there, not found');
}

function pair(image, a, b) {
  return make('div.plates', null, side(image, image.a, `Version ${a.version}`), side(image, image.b, `Version ${b.version}`));
}

function side(image, found, title) {
  const shapes = shapesOf(found, image.truth);
  const right = shapes.filter(({ kind }) => kind === 'right').length;
  const wrong = shapes.filter(({ kind }) => kind === 'wrong').length;
  const told = `${image.truth.length ? `found ${right} of ${image.truth.length}` : 'nothing is there'}`
    + `${wrong ? `, ${wrong} wrong` : ''}`;
  return make('figure.plate', null,
    make('figcaption', null, make('strong', null, title), ` ${told}`),
    photo(image, `${title}: ${told}`, shapes));
}

/**
 * What a version got right, wrong and missed. The most confident first, each box takes the box of
 * its class in the truth that it overlaps most, where that is by half at least and still free.
 * @param {object[]} found
 * @param {object[]} truth
 * @returns {import('./plates.js').Shape[]}
 */
export function shapesOf(found, truth) {
  const free = new Set(truth);
  const sorted = [...found].sort((one, other) => (other.confidence ?? 0) - (one.confidence ?? 0));
  const shapes = sorted.map((each) => {
    const match = best(each, free);
    free.delete(match);
    const sure = each.confidence == null ? '' : ` ${each.confidence.toFixed(2)}`;
    return { box: each.box, kind: match ? 'right' : 'wrong', tag: `${match ? '✓' : '✗'} ${each.class_name}${sure}` };
  });
  return [...shapes, ...[...free].map((each) => ({ box: each.box, kind: 'missed', tag: `? ${each.class_name}` }))];
}

function best(each, free) {
  const near = [...free].filter(({ class_id: id }) => id === each.class_id)
    .map((truth) => [overlap(each.box, truth.box), truth])
    .filter(([by]) => by >= LEAST_OVERLAP)
    .sort(([one], [other]) => other - one);
  return near[0]?.[1];
}

/** Intersection over union. */
function overlap(one, other) {
  const width = Math.min(one.x2, other.x2) - Math.max(one.x1, other.x1);
  const height = Math.min(one.y2, other.y2) - Math.max(one.y1, other.y1);
  if (width <= 0 || height <= 0) return 0;
  const area = ({ x1, y1, x2, y2 }) => (x2 - x1) * (y2 - y1);
  return (width * height) / (area(one) + area(other) - width * height);
}
