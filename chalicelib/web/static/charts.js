/** Lines over an axis, such as how a training went over its epochs. */

import { drawn, make } from './build.js';
import { lapse } from './words.js';

const NAMES = { box_loss: 'Box loss', cls_loss: 'Class loss', dfl_loss: 'Edge loss (DFL)' };
const STEPS = [1, 2, 2.5, 5, 10];

/**
 * @typedef {{name: string, kind: 'first'|'second', values: Array<?number>, dot?: number}} Line by
 *   place, from 1; `dot`: the place of the value to mark, the newest unless given
 * @typedef {{title: string, lines: Line[], most?: number, words?: string}} Chart `most`: no value can
 *   be larger; `words`: what somebody is told who does not see it
 * @typedef {{last: number, ends: Array<string|false>, name: (place: number) => string,
 *            shown: ?number}} Axis `name`: of a place; `shown`: where nobody points at one
 */

/**
 * Draw what the epochs tell: each loss in training and validation, and the average precision.
 * @param {object[]} epochs as the API tells them
 * @param {number} planned how many there will be
 * @returns {HTMLElement}
 */
export function charts(epochs, planned) {
  const last = Math.max(planned, epochs.at(-1)?.epoch ?? 0, 1);
  const byEpoch = Array.from({ length: last }, () => null);
  for (const epoch of epochs) byEpoch[epoch.epoch - 1] = epoch;
  const ends = ['1', last > 1 && `${last} epochs`];
  return plots(chartsOf(byEpoch), { last, ends, name: (epoch) => `epoch ${epoch}`, shown: null });
}

/**
 * Draw charts that have one axis in common; pointing at a place in one tells the values in all.
 * @param {Chart[]} drawings
 * @param {Axis} axis
 * @returns {HTMLElement}
 */
export function plots(drawings, axis) {
  const made = drawings.map((chart) => plotted(chart, axis));
  const holder = make('div.charts', null, ...made.map(({ figure }) => figure));
  const point = (event) => {
    const plot = event.target.closest?.('.plot-area');
    const place = plot ? placeAt(plot, event.clientX, axis.last) : axis.shown;
    for (const { tell } of made) tell(place);
  };
  holder.addEventListener('pointermove', point);
  holder.addEventListener('pointerleave', () => made.forEach(({ tell }) => tell(axis.shown)));
  return holder;
}

function chartsOf(byEpoch) {
  const precision = {
    title: 'Average precision',
    most: 1,
    lines: [
      { name: 'mAP50-95', kind: 'first', values: byEpoch.map((epoch) => epoch?.['mAP50-95'] ?? null) },
      { name: 'mAP50', kind: 'second', values: byEpoch.map((epoch) => epoch?.mAP50 ?? null) },
    ],
  };
  const names = [...new Set(byEpoch.flatMap((epoch) => Object.keys(epoch?.losses ?? {})))];
  const kinds = [...new Set(names.map((name) => name.split('/').at(-1)))];
  const of = (name) => byEpoch.map((epoch) => epoch?.losses?.[name] ?? null);
  return [precision, ...kinds.map((kind) => ({
    title: NAMES[kind] ?? kind.replaceAll('_', ' '),
    lines: names.filter((name) => name.split('/').at(-1) === kind).map((name) => ({
      name: name.startsWith('val/') ? 'validation' : 'training',
      kind: name.startsWith('val/') ? 'second' : 'first',
      values: of(name),
    })),
  }))];
}

/** The smallest round number that no value exceeds. */
function roof(lines, most = Infinity) {
  const top = Math.max(...lines.flatMap(({ values }) => values.filter((value) => value != null)), 0);
  if (top <= 0) return Math.min(1, most);
  const power = 10 ** Math.floor(Math.log10(top));
  return Math.min(STEPS.find((step) => step * power >= top * 0.999) * power, most);
}

function plotted({ title, lines, most, words }, { last, ends, name, shown }) {
  const high = roof(lines, most);
  const cursor = drawn('line.cursor', { y1: 0, y2: 100, 'vector-effect': 'non-scaling-stroke' });
  const values = lines.map(() => make('output'));
  const which = make('span.which');
  const tell = (place) => {
    cursor.classList.toggle('shown', place != null);
    if (place != null) for (const side of ['x1', 'x2']) cursor.setAttribute(side, across(place, last));
    which.textContent = place == null ? '' : name(place);
    lines.forEach((line, index) => { values[index].textContent = figure(valueOf(line, place)); });
  };
  tell(shown);
  const area = make('div.plot-area', null, drawn('svg', {
    viewBox: '0 0 100 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': words ?? inWords(title, lines),
  }, ...grid(), ...lines.map((line) => path(line, last, high)), cursor));
  return {
    tell,
    figure: make('figure.chart', null,
      make('figcaption', null, make('strong', null, title), which),
      make('ul.lines', null, ...lines.map((line, index) => make(`li.${line.kind}`, null, line.name, ' ', values[index]))),
      make('div.scaled', null,
        make('div.ups', { 'aria-hidden': 'true' }, ...[high, high / 2, 0].map((value) => make('span', null, tick(value)))),
        area,
        make('div.acrosses', { 'aria-hidden': 'true' }, ...ends.map((end) => end && make('span', null, end))))),
  };
}

function grid() {
  return [0, 50, 100].map((y) => drawn('line.grid', {
    x1: 0, x2: 100, y1: y, y2: y, 'vector-effect': 'non-scaling-stroke',
  }));
}

/** A line through the values, with gaps where there are none and a dot at one. */
function path({ kind, values, dot }, last, high) {
  let open = false;
  const strokes = values.map((value, index) => {
    if (value == null) {
      open = false;
      return '';
    }
    const stroke = `${open ? 'L' : 'M'}${across(index + 1, last)} ${down(value, high)}`;
    open = true;
    return stroke;
  });
  const marked = dot == null ? values.findLastIndex((value) => value != null) : dot - 1;
  const end = marked >= 0 && `M${across(marked + 1, last)} ${down(values[marked], high)}h.001`;
  const fixed = { 'vector-effect': 'non-scaling-stroke' };
  return drawn('g', null,
    drawn(`path.curve.${kind}`, { d: strokes.join(''), ...fixed }),
    end && drawn(`path.newest.${kind}`, { d: end, ...fixed }));
}

function across(place, last) {
  return last > 1 ? Math.round(((place - 1) / (last - 1)) * 1e4) / 100 : 50;
}

function down(value, high) {
  return Math.round((1 - Math.min(value / high, 1)) * 1e4) / 100;
}

function placeAt(plot, x, last) {
  const { left, width } = plot.getBoundingClientRect();
  return Math.min(Math.max(Math.round(((x - left) / width) * (last - 1)) + 1, 1), last);
}

function valueOf({ values }, place) {
  return place == null ? values.findLast((value) => value != null) : values[place - 1];
}

function tick(value) {
  return String(Number(value.toPrecision(3)));
}

/**
 * A loss or a precision, with three digits that matter.
 * @param {?number} value
 * @returns {string}
 */
export function figure(value) {
  if (value == null) return '–';
  return value >= 100 ? String(Math.round(value)) : value.toFixed(value >= 10 ? 1 : 3);
}

/** What somebody who does not see the drawing is told of it; the table has every value. */
function inWords(title, lines) {
  const told = lines.map((line) => {
    const there = line.values.filter((value) => value != null);
    if (!there.length) return `${line.name}: nothing yet`;
    return `${line.name} from ${figure(there[0])} to ${figure(there.at(-1))}`;
  });
  return `${title}: ${told.join(', ')}`;
}

/**
 * Every epoch in figures, folded up.
 * @param {object[]} epochs
 * @returns {HTMLElement}
 */
export function epochTable(epochs) {
  const names = [...new Set(epochs.flatMap(({ losses }) => Object.keys(losses)))];
  const heads = ['Epoch', 'mAP50-95', 'mAP50', ...names, 'Took'];
  return make('details', null, make('summary', null, 'Every epoch in figures'),
    make('div.table', { tabindex: 0, role: 'group', 'aria-label': 'Epochs' }, make('table', null,
      make('thead', null, make('tr', null, ...heads.map((head) => make('th', { scope: 'col' }, head)))),
      make('tbody', null, ...epochs.map((epoch) => make('tr', null,
        make('th', { scope: 'row' }, epoch.epoch, epoch.times > 1 && make('span.soft', null, ` ${epoch.times} times`)),
        make('td', null, figure(epoch['mAP50-95'])), make('td', null, figure(epoch.mAP50)),
        ...names.map((name) => make('td', null, figure(epoch.losses[name]))),
        make('td', null, epoch.seconds == null ? '–' : lapse(epoch.seconds))))))));
}
