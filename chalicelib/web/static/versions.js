/** One model: what its next training waits for, its versions, and what each was worth. */

import { make, when } from './build.js';
import { figure } from './charts.js';
import { comparison } from './comparison.js';
import { ask } from './operator.js';
import { refill } from './refill.js';
import { counted, lapse, sentence } from './words.js';

const DECISION = { launch: 'to be trained', wait: 'waits', running: 'training' };

/**
 * @param {?object} plan
 * @returns {HTMLElement} what was decided, in a word
 */
export function planBadge(plan) {
  if (!plan) return make('span.badge.over', null, 'not looked at yet');
  const looks = { launch: 'good', wait: 'over', running: 'running' }[plan.decision];
  return make(`span.badge.${looks}`, null, DECISION[plan.decision]);
}

/**
 * Show a model, or bring what is shown of it up to date.
 * @param {HTMLElement} sheet
 * @param {{name: string, plan: ?object, running: ?object, history: ?object, unknown: string}} model
 * @param {{may: boolean, retrain: Function, promote: Function, rollBack: Function,
 *          openJob: Function}} acts
 * @returns {boolean} whether anything changed
 */
export function showModel(sheet, model, acts) {
  const { name, plan, running, history, unknown } = model;
  const live = history?.live_version ?? null;
  return refill(sheet, [
    ['head', [live, acts.may, running?.job_id, history?.versions.length], () => heading(model, acts)],
    ['plan', [plan, live], () => planned(model, live)],
    ['speed', history, () => speed(history)],
    ['versions', [history, acts.may, unknown], () => versions(model, acts)],
    ['compare', [history?.versions.map(({ version }) => version), acts.may], () => comparing(model, acts.may)],
    ['past', history?.promotions, () => past(history)],
  ].map(([part, told, draw]) => ({ key: `${name} ${part}`, facts: told ?? null, draw })));
}

function heading({ name, running, history }, { may, retrain, rollBack, openJob }) {
  const live = history?.live_version;
  const path = encodeURIComponent(name);
  return make('header.case-head', null,
    make('h2', null, name),
    make('p.soft', null, live == null ? 'No version serves yet. ' : `Version ${live} serves. `,
      make('a', { href: `dataset?model=${path}` }, 'What it is trained on'), ' · ',
      make('a', { href: `label?model=${path}` }, 'Contribute')),
    make('p.actions', null,
      running && make('button.plain', { type: 'button', onclick: () => openJob(running.job_id) }, 'See its training'),
      may && !running && make('button.key', { type: 'button', onclick: () => retrain(name, live) }, 'Train it now …'),
      may && live != null && history.versions.length > 1
        && make('button.plain', { type: 'button', onclick: () => rollBack(name, live) }, 'Roll back …')));
}

function planned({ name, plan }, live) {
  if (!plan) {
    return make('section', null, make('h3', null, 'Its next training'),
      make('p.soft', null, 'The schedule has not looked at this model yet.'));
  }
  return make('section', null, make('h3', null, 'Its next training'),
    make('p', null, plan.reason, ' ', make('span.soft', null, '(', when(plan.considered_at), ')')),
    meter(name, live == null ? 'Images for training' : 'New images for training', plan.new_train, plan.needs_train),
    meter(name, live == null ? 'Images for validation' : 'New images for validation', plan.new_valid, plan.needs_valid));
}

function meter(name, what, size, least) {
  return make('div.toward', null,
    make('div', null, what, make('span', null, `${size} of ${least}`)),
    make('progress', { max: Math.max(least, 1), value: Math.min(size, least), 'aria-label': `${name}: ${what.toLowerCase()}` }));
}

/** How long a correction took to be in weights that serve: of the live version, or the newest that knows. */
function speed(history) {
  const measured = history?.versions.filter((each) => each.correction_to_serving) ?? [];
  const shown = measured.find(({ live }) => live) ?? measured[0];
  if (!shown) return make('div', { hidden: true });
  const { labels, median_seconds: median, longest_seconds: longest } = shown.correction_to_serving;
  return make('section.speed', null, make('h3', null, 'From a correction to weights that serve it'),
    make('p', null, make('strong', null, lapse(median)), ` half of them sooner, the slowest ${lapse(longest)}`),
    make('p.soft', null, `${counted(labels, 'label')} that version ${shown.version} was the first to learn from.`));
}

function versions({ name, history, unknown }, { may, promote, openJob }) {
  const title = make('h3', null, 'Versions');
  if (!history?.versions.length) return make('section', null, title, make('p.soft', null, unknown || 'None yet.'));
  const heads = ['Version', 'mAP50-95', 'mAP50', 'Trained on', 'Measured on', 'Made', 'Correction to serving', 'Comes from'];
  const row = (each) => make('tr', null,
    make('th', { scope: 'row' }, each.version, each.live && make('span.badge.good', null, 'serves'),
      !each.live && each.gate?.promote === false && make('span.badge.bad', { title: each.gate.reason }, 'rejected')),
    make('td', null, figure(each.map50_95)), make('td', null, figure(each.map50)),
    make('td', null, each.training_set_size ?? '–'), make('td', null, each.validation_set_size ?? '–'),
    make('td', null, each.created_at ? when(each.created_at) : '–'),
    make('td', null, each.correction_to_serving ? lapse(each.correction_to_serving.median_seconds) : '–'),
    make('td', null, each.job_id
      ? make('button.link', { type: 'button', onclick: () => openJob(each.job_id) }, 'a training') : 'outside'),
    may && make('td', null, !each.live && make('button.plain', {
      type: 'button', 'aria-label': `Promote version ${each.version}`, onclick: () => promote(name, each.version, history.live_version),
    }, 'Promote …')));
  return make('section', null, title,
    make('div.table', { tabindex: 0, role: 'group', 'aria-label': `Versions of ${name}` }, make('table', null,
      make('thead', null, make('tr', null, ...heads.map((head) => make('th', { scope: 'col' }, head)), may && make('td'))),
      make('tbody', null, ...history.versions.map(row)))));
}

function comparing({ name, history }, may) {
  const numbers = history?.versions.map(({ version }) => version) ?? [];
  if (numbers.length < 2) return make('div', { hidden: true });
  const title = make('h3', null, 'Two versions side by side');
  if (!may) return make('section', null, title, make('p.soft', null, 'For operators: it shows images of the dataset.'));
  const choice = (label, chosen) => make('label', null, label, ' ', make('select', null,
    ...numbers.map((each) => make('option', { value: each, selected: each === chosen }, `version ${each}`))));
  const live = history.live_version ?? numbers[0];
  const other = numbers.find((each) => each < live) ?? numbers.find((each) => each !== live);
  const [from, to] = [choice('Compare', other), choice('with', live)];
  const button = make('button.plain', { type: 'submit' }, 'Compare');
  const result = make('div', { 'aria-live': 'polite' });
  const form = make('form.versus', null, from, to, button);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    result.replaceChildren(make('p.soft', null, 'Both look at validation images: this can take a minute …'));
    const [a, b] = [from, to].map((each) => each.querySelector('select').value);
    await fetchInto(result, name, a, b);
    button.disabled = false;
  });
  return make('section', null, title, form, result);
}

async function fetchInto(result, name, a, b) {
  if (a === b) {
    result.replaceChildren(make('p.soft', null, 'These are the same: choose another one.'));
    return;
  }
  const path = `v1/models/${encodeURIComponent(name)}/comparison?${new URLSearchParams({ a, b })}`;
  try {
    result.replaceChildren(comparison(await ask(path)));
  } catch (problem) {
    if (!problem.title) throw problem;
    result.replaceChildren(make('p.distrust', null, `${problem.title}. ${sentence(problem.detail)}`));
  }
}

function past(history) {
  const promotions = history?.promotions ?? [];
  if (!promotions.length) return make('div', { hidden: true });
  return make('section', null, make('h3', null, 'What served when'),
    make('ol.decisions', null, ...promotions.map((each) => make('li', null,
      make('strong', null, `Version ${each.version}`),
      each.previous != null && ` after version ${each.previous}`, ' by ', each.by, ', ', when(each.at),
      each.why && make('q', null, each.why)))));
}
