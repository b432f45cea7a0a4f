/** What a dataset is made of, drawn as bars. */

import { make } from './build.js';
import { counted, joined } from './words.js';

const SHARES = ['under 1 %', '1–2 %', '2–5 %', '5–10 %', '10–20 %', '20–30 %', '30–50 %', 'over 50 %'];
const SIZES = { small: 'small: under 32 × 32', medium: 'medium', large: 'large: from 96 × 96' };
const WHY = { doubted: 'for distrust', banned: 'by a ban', replaced: 'for a newer one', rejected: 'by an operator' };
const ORIGINS = { submission: 'corrections', import: 'imports', operator: 'operators' };
const figure = new Intl.NumberFormat();

/**
 * @param {object} dataset as the API tells it
 * @returns {HTMLElement[]}
 */
export function plots(dataset) {
  const { training, validation } = dataset;
  return [
    totals(dataset),
    plot('Images by class', balance(training, validation, 'images'), legend()),
    plot('Boxes by class', balance(training, validation, 'boxes'), legend()),
    plot('Boxes by size', bars(Object.entries(SIZES).map(([size, name]) => (
      [name, training.box_sizes[size], validation.box_sizes[size]]))),
    make('p.soft', null, 'In pixels of the photos.')),
    plot('Boxes by share of the image', bars(SHARES.map((name, part) => (
      [name, training.box_shares[part], validation.box_shares[part]]))),
    make('p.soft', null, 'The side of a square as large as the box, compared with that of the image.')),
    plot('Where labels come from', bars(Object.entries(ORIGINS).map(([origin, name]) => (
      [name, training.origins[origin] ?? 0, validation.origins[origin] ?? 0]))), withdrawn(dataset)),
    alike(dataset.near_duplicates),
  ];
}

function totals({ training, validation, changed_at: changed }) {
  const all = training.images + validation.images;
  const share = all ? `${Math.round((100 * validation.images) / all)} % for validation` : 'none yet';
  const day = changed && new Date(changed).toLocaleDateString(undefined, { dateStyle: 'medium' });
  const told = [
    ['Images', all, `${figure.format(training.images)} for training, ${share}`],
    ['Boxes', training.boxes + validation.boxes, day ? `last changed ${day}` : ''],
    ['Without boxes', training.without_boxes + validation.without_boxes, 'somebody looked: nothing there'],
  ];
  return make('dl.totals', null, ...told.map(([name, count, note]) => make('div', null,
    make('dt', null, name),
    make('dd', null, figure.format(count), make('small', null, note)))));
}

function plot(title, ...children) {
  return make('section.plot', null, make('h2', null, title), ...children);
}

function legend() {
  return make('p.legend', null, make('span.of-train', null, 'training'), make('span.of-valid', null, 'validation'));
}

function balance(training, validation, what) {
  const names = [...training.classes, ...validation.classes].map((each) => [each.class_id, each.class_name]);
  const of = (side, id) => side.classes.find((each) => each.class_id === id)?.[what] ?? 0;
  const rows = [...new Map(names)].map(([id, name]) => [name, of(training, id), of(validation, id)]);
  return bars(rows.sort((one, other) => other[1] + other[2] - one[1] - one[2]));
}

/** Rows of a name and its counts in training and validation; the longest bar fills its track. */
function bars(rows) {
  const most = Math.max(...rows.map(([, train, valid]) => train + valid), 1);
  return make('ul.bars', { tabindex: 0 }, ...rows.map(([name, train, valid]) => {
    const track = make('span.track', { 'aria-hidden': 'true' }, bar('train', train / most), bar('valid', valid / most));
    const told = `, ${train} for training and ${valid} for validation`;
    return make('li', null, make('span.name', null, name), track,
      make('span.count', null, figure.format(train + valid), make('span.unseen', null, told)));
  }));
}

function bar(side, share) {
  const made = make(`i.${side}`);
  made.style.setProperty('--share', `${100 * share}%`);
  return made;
}

function withdrawn({ training, validation }) {
  const parts = Object.entries(WHY).map(([why, words]) => (
    [(training.withdrawn[why] ?? 0) + (validation.withdrawn[why] ?? 0), words]));
  const told = parts.filter(([count]) => count).map(([count, words]) => `${figure.format(count)} ${words}`);
  return make('p.soft', null, told.length ? `Taken back: ${joined(told)}.` : 'None was taken back.');
}

function alike({ clusters, images, leaking }) {
  const none = 'No two images look alike, nor were any said to belong together.';
  const some = `${counted(clusters, 'group')} of images that look alike or belong together, `
    + `${figure.format(images)} images in all. New images join the side that their group is on, so `
    + 'that validation measures no memory.';
  return plot('Near-duplicates',
    make('p', null, clusters ? some : none),
    leaking > 0 && make('p.warning', null, `${counted(leaking, 'validation image')} whose like is in `
      + 'training: versions leave them out.'));
}
