/** The page that shows which models there are and which wait for images, and asks for new ones. */

import { Problem, json, send } from './api.js';
import { make } from './build.js';
import { CardList } from './cardlist.js';
import { exporting } from './exports.js';
import { importZip, importing } from './imports.js';
import { ask, takeFromAddress, token } from './operator.js';
import { visibilityLine } from './visibility.js';
import { counted, percent } from './words.js';

/** Where the API stops counting what is new. */
const MOST_COUNTED = 1000;

/** Cards of a page: each that serves is asked for by itself; those that wait come all at once. */
const MOST_LIVE = 24;
const MOST_PENDING = 100;
const TYPING_MS = 250;

const byId = (id) => document.getElementById(id);
const live = new CardList('live', pageOfLive, liveCard);
const pending = new CardList('pending', pageOfPending, pendingCard);

/** Do what may fail, and say so where it does. */
async function run(act) {
  byId('problem').hidden = true;
  try {
    await act();
  } catch (error) {
    const problem = error instanceof Problem ? error : { title: 'This page failed', detail: String(error) };
    byId('problem').textContent = `${problem.title}. ${problem.detail}`;
    byId('problem').hidden = false;
  }
}

/** Show those with the letters in their names that somebody looks for. */
async function load() {
  const letters = byId('letters').value.trim().toLowerCase();
  await Promise.all([live.show(letters), pending.show(letters)]);
  byId('looking').hidden = !(letters || live.hasMore || pending.hasMore);
}

async function showAll() {
  byId('letters').value = '';
  await load();
}

async function pageOfLive(letters, after) {
  const asked = { limit: MOST_LIVE, ...(letters && { containing: letters }), ...(after && { after }) };
  const { models, next } = await json(`v1/models?${new URLSearchParams(asked)}`);
  return { models: await Promise.all(models.map(({ name }) => json(pathOf('models', name)))), next };
}

async function pageOfPending(letters, after) {
  const { models } = await json('v1/pending-models');
  const found = models.filter(({ name }) => name.includes(letters));
  const from = found.findIndex(({ name }) => name === after) + 1;
  const shown = found.slice(from, from + MOST_PENDING);
  return { models: shown, next: from + MOST_PENDING < found.length ? shown.at(-1).name : null };
}

function liveCard(model) {
  const serving = model.versions.find(({ live }) => live);
  const precision = new Map(serving?.classes.map((row) => [row.class_id, row.ap50]));
  const rows = model.class_names.map((name, id) => make('li', null, name, shown(precision.get(id))));
  const trained = `Version ${model.live_version}, trained on ${counted(model.training_set_size, 'image')} `
    + `and measured on ${model.validation_set_size}.`;
  const sizes = make('div.sizes', null, ...liveSizes(model));
  const path = pathOf('models', model.name);
  return make('li.card', null,
    make('h3', null, model.name),
    make('p.soft', null, trained),
    visibilityLine(model, Boolean(token()), run),
    classList(model.name, rows),
    serving?.map50 != null && make('p', null, `Mean average precision (IoU 0.5): ${percent(serving.map50)}`),
    sizes,
    ...actions(model.name, path, async () => sizes.replaceChildren(...liveSizes(await json(path)))));
}

/** How large its dataset is, and how far it is from the next training. */
function liveSizes({ name, dataset, new_data: fresh }) {
  const parts = [];
  if (dataset) {
    const now = `${counted(dataset.training, 'image')} for training, ${dataset.validation} for validation.`;
    parts.push(make('p', null, `Its dataset now: ${now}`));
  }
  if (fresh) {
    parts.push(
      meter(name, 'New images for training', fresh.training, fresh.min_new_training_data, MOST_COUNTED),
      meter(name, 'New images for validation', fresh.validation, fresh.min_new_validation_data, MOST_COUNTED),
    );
  }
  if (fresh?.has_enough) parts.push(make('p', null, 'Enough that is new to be trained again.'));
  return parts;
}

function shown(ap50) {
  return make('span', null, ap50 == null ? 'not measured' : `AP ${percent(ap50)}`);
}

function pendingCard(model) {
  const sizes = make('div.sizes', null, ...pendingSizes(model));
  const path = pathOf('pending-models', model.name);
  return make('li.card', null,
    make('h3', null, model.name),
    visibilityLine(model, Boolean(token()), run),
    classList(model.name, model.class_names.map((name) => make('li', null, name))),
    sizes,
    ...actions(model.name, path, async () => sizes.replaceChildren(...pendingSizes(await json(path)))));
}

function pendingSizes(model) {
  const parts = [
    meter(model.name, 'Images for training', model.training_set_size, model.min_training_set_size),
    meter(model.name, 'Images for validation', model.validation_set_size, model.min_validation_set_size),
  ];
  if (model.has_enough) parts.push(make('p', null, 'Enough to be trained.'));
  return parts;
}

function classList(name, rows) {
  return make('ul.classes', { tabindex: '0', 'aria-label': `Classes of ${name}` }, ...rows);
}

function meter(name, what, size, least, most = Infinity) {
  const far = `${size >= most ? `${size} or more` : size} of ${least}`;
  return make('div.toward', null,
    make('div', null, what, make('span', null, far)),
    make('progress', { max: least, value: Math.min(size, least), 'aria-label': `${name}: ${what.toLowerCase()}` }));
}

function pathOf(kind, name) {
  return `v1/${kind}/${encodeURIComponent(name)}`;
}

function actions(name, path, after) {
  const model = encodeURIComponent(name);
  return [
    make('p.actions', null,
      make('a', { href: `label?model=${model}`, 'aria-label': `Contribute to ${name}` }, 'Contribute'),
      make('a', { href: `dataset?model=${model}`, 'aria-label': `Dataset of ${name}` }, 'Dataset'),
      make('a', { href: `training?model=${model}`, 'aria-label': `Training of ${name}` }, 'Training')),
    token() && importing(path, name, run, after),
    token() && exporting(name, run),
  ];
}

async function askForModel() {
  const name = byId('name').value.trim();
  const [zip] = byId('zip').files;
  const told = byId('asked');
  told.textContent = 'Asking …';
  byId('send').disabled = true;
  try {
    const body = { name, classes: byId('classes').value };
    await (token() ? ask('v1/pending-models', { method: 'POST', body }) : send('v1/pending-models', body));
    told.textContent = `${name} now waits for images.`;
    await (name.includes(pending.letters) ? pending.show(pending.letters) : showAll());
    if (zip && await importZip(pathOf('pending-models', name), zip, told, new AbortController().signal)) byId('zip').value = '';
    if (!zip) byId('ask').reset();
  } catch (problem) {
    told.textContent = '';
    throw problem;
  } finally {
    byId('send').disabled = false;
  }
  if (zip) await pending.show(pending.letters);
}

function start() {
  takeFromAddress();
  byId('ask').addEventListener('submit', (event) => {
    event.preventDefault();
    run(askForModel);
  });
  for (const [id, list] of [['live', live], ['pending', pending]]) {
    byId(`more-${id}`).addEventListener('click', () => run(() => list.more()));
  }
  let typing;
  byId('letters').addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => run(load), TYPING_MS);
  });
  run(load);
}

start();
