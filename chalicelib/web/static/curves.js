/** How precision, recall and F1 of two versions go with confidence. */

import { DEFAULT_CONFIDENCE } from './api.js';
import { make } from './build.js';
import { figure, plots } from './charts.js';
import { joined } from './words.js';

const TITLES = { precision: 'Precision', recall: 'Recall', f1: 'F1' };
const ROWS = 20;

/**
 * @param {{a: ?object, b: ?object, same_images: boolean}} told as the API tells it
 * @param {{version: number}} a
 * @param {{version: number}} b
 * @returns {HTMLElement}
 */
export function curves({ a: one, b: other, same_images: same }, a, b) {
  const sides = [
    { name: `Version ${a.version}`, kind: 'first', curve: one },
    { name: `Version ${b.version}`, kind: 'second', curve: other },
  ];
  const known = sides.filter(({ curve }) => curve);
  const title = make('h4', null, 'By confidence');
  if (!known.length) {
    return make('section.curves', null, title, make('p.soft', null, 'Of neither it was measured how it goes with confidence.'));
  }
  return make('section.curves', null, title,
    make('p.soft', null, sentenceOf(sides, same)),
    drawn(known),
    table(known));
}

/** What the curves are of, and what is missing. */
function sentenceOf(sides, same) {
  const [known, missing] = [true, false].map((is) => sides.filter(({ curve }) => Boolean(curve) === is));
  const what = 'Of what is at least so confident, at IoU 0.5, the mean of the classes; dots mark the best F1.';
  if (missing.length) return `${what} ${missing[0].name} was not measured so.`;
  return `${what} ${joined(known.map(({ name }) => name))} were measured on `
    + `${same ? 'the same validation images' : 'the validation images of their time, which differ'}.`;
}

function drawn(known) {
  const { confidence } = longest(known);
  const last = confidence.length;
  const drawings = Object.entries(TITLES).map(([key, title]) => ({
    title,
    most: 1,
    lines: known.map(({ name, kind, curve }) => ({
      name, kind, values: aligned(curve, confidence, key), dot: 1 + confidence.indexOf(curve.confidence[best(curve)]),
    })),
    words: inWords(key, title, known),
  }));
  const shown = 1 + confidence.findIndex((each) => each >= DEFAULT_CONFIDENCE);
  const name = (place) => `at ${confidence[place - 1].toFixed(2)}`;
  return plots(drawings, { last, ends: ['0', 'confidence 1'], name, shown });
}

const longest = (known) => known.map(({ curve }) => curve).sort((one, other) => other.confidence.length - one.confidence.length)[0];

/** A curve's values at the confidences of another. */
function aligned(curve, confidence, key) {
  const at = new Map(curve.confidence.map((each, index) => [each, curve[key][index]]));
  return confidence.map((each) => at.get(each) ?? null);
}

/** Where F1 is highest. */
function best({ f1 }) {
  return f1.indexOf(Math.max(...f1));
}

/** What somebody who does not see the drawing is told of it; the table has more. */
function inWords(key, title, known) {
  const told = known.map(({ name, curve }) => {
    const at = best(curve);
    return `${name} has ${figure(curve[key][at])} at ${curve.confidence[at].toFixed(2)}, where its F1 is highest`;
  });
  return `${title} by confidence: ${told.join('; ')}`;
}

function table(known) {
  const { confidence } = longest(known);
  const step = Math.max(1, Math.round((confidence.length - 1) / ROWS));
  const columns = Object.entries(TITLES).flatMap(([key, title]) => (
    known.map(({ name, curve }) => ({ head: `${title}, ${name.toLowerCase()}`, values: aligned(curve, confidence, key) }))));
  const rows = confidence.map((each, index) => [each, index]).filter(([, index]) => index % step === 0);
  return make('details', null, make('summary', null, 'The curves in figures'),
    make('div.table', { tabindex: 0, role: 'group', 'aria-label': 'Figures by confidence' }, make('table', null,
      make('thead', null, make('tr', null, ...['Confidence', ...columns.map(({ head }) => head)]
        .map((head) => make('th', { scope: 'col' }, head)))),
      make('tbody', null, ...rows.map(([each, index]) => make('tr', null,
        make('th', { scope: 'row' }, each.toFixed(2)),
        ...columns.map(({ values }) => make('td', null, figure(values[index])))))))));
}
