/** The report beside the photo: what was found, by class and one by one, and how long it took. */

import { nameOf } from './boxes.js';
import { colourOf } from './palette.js';
import { leaveOneStop, rove } from './selection.js';
import { countByClass, duration, percent, summary } from './words.js';

const STEPS = [
  ['decode', 'Decode'],
  ['preprocess', 'Preprocess'],
  ['inference', 'Inference'],
  ['postprocess', 'Postprocess'],
];
const byId = (id) => document.getElementById(id);

/** The list of detections, linked with the boxes, and what goes around it. */
export class Report {
  /** @param {import('./selection.js').Selection} selection */
  constructor(selection) {
    this.selection = selection;
    this.list = byId('list');
    /** @type {HTMLElement[]} by place in the answer */
    this.rows = [];
    rove(this.list, () => this.shown());
    selection.addEventListener('change', () => this.mark());
    this.list.addEventListener('pointerover', (event) => selection.point(this.indexOf(event)));
    this.list.addEventListener('pointerleave', () => selection.point(-1));
    this.list.addEventListener('focusin', (event) => selection.point(this.indexOf(event)));
    this.list.addEventListener('focusout', () => selection.point(-1));
    this.list.addEventListener('click', (event) => this.click(event));
    this.list.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') selection.clear();
    });
  }

  /**
   * Fill in a photo's answer; without one there is no report.
   * @param {?import('./work.js').Photo} photo
   */
  draw(photo) {
    const answer = photo?.answer;
    byId('found').hidden = !answer;
    byId('unfound').hidden = Boolean(answer);
    [byId('unfound-title').textContent, byId('unfound-text').textContent] = unfoundOf(photo);
    this.rows = [];
    if (answer) {
      this.rows = answer.detections.map(rowOf);
      tellTimes(answer.timing_ms, photo);
    }
    this.list.replaceChildren(...this.rows.map((row) => row.parentElement));
  }

  /**
   * Show the first so many detections.
   * @param {import('./work.js').Photo} photo
   * @param {number} count
   */
  showFirst(photo, count) {
    this.rows.forEach((row, index) => { row.parentElement.hidden = index >= count; });
    leaveOneStop(this.shown(), this.rows[this.selection.chosen]);
    const shown = photo.answer.detections.slice(0, count);
    byId('total').textContent = count ? summary(shown) : 'Nothing found';
    byId('where').textContent = `on ${photo.name}, by ${photo.answer.model} version ${photo.answer.version}`;
    byId('list').hidden = !count;
    byId('nothing').hidden = Boolean(count);
    byId('nothing').textContent = photo.answer.detections.length
      ? 'Nothing is as certain as that. Lower the confidence to see what is less so.'
      : 'The model sees nothing of its kind here, however uncertain.';
    tellCounts(shown);
    this.mark();
  }

  shown() {
    return this.rows.filter((row) => !row.parentElement.hidden);
  }

  indexOf(event) {
    return this.rows.indexOf(event.target.closest('button'));
  }

  click(event) {
    const index = this.indexOf(event);
    if (index >= 0) this.selection.choose(index);
  }

  mark() {
    const { meant, chosen } = this.selection;
    this.rows.forEach((row, index) => {
      row.classList.toggle('meant', index === meant);
      row.setAttribute('aria-pressed', String(index === chosen));
    });
    const row = this.rows[meant];
    if (row && !this.list.contains(document.activeElement)) scrollWithin(this.list, row);
  }
}

/** Scroll a list to a row of it, and nothing else on the page. */
function scrollWithin(list, row) {
  const top = row.offsetTop - list.offsetTop;
  if (top < list.scrollTop) list.scrollTop = top;
  const bottom = top + row.offsetHeight - list.clientHeight;
  if (bottom > list.scrollTop) list.scrollTop = bottom;
}

function rowOf(detection, index) {
  const { x1, y1, x2, y2 } = detection.box;
  const item = document.createElement('li');
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'row';
  button.style.setProperty('--mark', colourOf(detection.class_id));
  const size = `${Math.round(x2 - x1)} × ${Math.round(y2 - y1)} px`;
  button.setAttribute('aria-label', `${nameOf(detection, index)}, ${size}`);
  button.append(
    cell('row-number', index + 1),
    cell('row-name', detection.class_name),
    cell('row-size', size),
    meter(detection.confidence),
    cell('row-share', percent(detection.confidence)),
  );
  item.append(button);
  return button;
}

function cell(kind, text) {
  const span = document.createElement('span');
  span.className = kind;
  span.textContent = text;
  return span;
}

function meter(share) {
  const bar = cell('meter', '');
  bar.style.setProperty('--share', `${share * 100}%`);
  return bar;
}

function unfoundOf(photo) {
  if (!photo) {
    return ['Nothing looked at yet', 'What the model finds will be listed here, one line for each '
      + 'box, with a slider that hides what is less certain.'];
  }
  if (photo.problem) return ['No boxes', `${photo.name} could not be looked at.`];
  return ['Looking …', photo.uploaded
    ? `${photo.name} is too large for one call, so it goes through an upload and a queue.`
    : `The model looks at ${photo.name}.`];
}

function tellCounts(detections) {
  const counts = countByClass(detections);
  const ids = new Map(detections.map((each) => [each.class_name, each.class_id]));
  byId('counts').hidden = counts.size < 2;
  byId('counts').replaceChildren(...[...counts].map(([name, count]) => {
    const item = document.createElement('li');
    item.style.setProperty('--mark', colourOf(ids.get(name)));
    item.append(cell('count-name', name), cell('count', count));
    return item;
  }));
}

function tellTimes(timing, photo) {
  const server = STEPS.reduce((sum, [step]) => sum + timing[step], 0);
  const rest = Math.max(photo.roundTripMs - server, 0);
  const parts = [...STEPS.map(([step, title]) => [title, timing[step], step])];
  parts.push([photo.uploaded ? 'Upload and queue' : 'On the way', rest, 'rest']);
  const way = photo.uploaded ? ' through an upload' : '';
  byId('round-trip').textContent = `Round trip ${duration(photo.roundTripMs)}${way}, `
    + `${duration(server)} of it detecting`;
  byId('time-bar').replaceChildren(...parts.map(([, ms, step]) => {
    const part = cell(`part ${step}`, '');
    part.style.flexGrow = ms;
    return part;
  }));
  byId('times').replaceChildren(...parts.map(([title, ms, step]) => {
    const pair = document.createElement('div');
    pair.className = step;
    const [term, value] = [document.createElement('dt'), document.createElement('dd')];
    term.textContent = title;
    value.textContent = duration(ms);
    pair.append(term, value);
    return pair;
  }));
}
