/** The page that shows which models there are and which wait for images, and asks for new ones. */

import { Problem, json, send } from './api.js';
import { make } from './build.js';
import { exporting } from './exports.js';
import { importZip } from './imports.js';
import { ask, takeFromAddress, token } from './operator.js';
import { counted, percent } from './words.js';

const byId = (id) => document.getElementById(id);

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

async function load() {
  await Promise.all([loadLive(), loadPending()]);
}

async function loadLive() {
  const { models } = await json('v1/models');
  const details = await Promise.all(models.map(({ name }) => json(`v1/models/${encodeURIComponent(name)}`)));
  byId('live').replaceChildren(...details.map(liveCard));
  byId('no-live').hidden = details.length > 0;
}

async function loadPending() {
  const { models } = await json('v1/pending-models');
  byId('pending').replaceChildren(...models.map(pendingCard));
  byId('no-pending').hidden = models.length > 0;
}

function liveCard(model) {
  const serving = model.versions.find(({ live }) => live);
  const precision = new Map(serving?.classes.map((row) => [row.class_id, row.ap50]));
  const rows = model.class_names.map((name, id) => make('li', null, name, shown(precision.get(id))));
  const trained = `Version ${model.live_version}, trained on ${counted(model.training_set_size, 'image')} `
    + `and measured on ${model.validation_set_size}.`;
  const { dataset } = model;
  return make('li.card', null,
    make('h3', null, model.name),
    make('p.soft', null, trained),
    classList(model.name, rows),
    serving?.map50 != null && make('p', null, `Mean average precision (IoU 0.5): ${percent(serving.map50)}`),
    dataset && make('p', null, `Its dataset now: ${counted(dataset.training, 'image')} for training, ${dataset.validation} for validation.`),
    ...actions(model.name));
}

function shown(ap50) {
  return make('span', null, ap50 == null ? 'not measured' : `AP ${percent(ap50)}`);
}

function pendingCard(model) {
  return make('li.card', null,
    make('h3', null, model.name),
    classList(model.name, model.class_names.map((name) => make('li', null, name))),
    meter(model.name, 'training', model.training_set_size, model.min_training_set_size),
    meter(model.name, 'validation', model.validation_set_size, model.min_validation_set_size),
    model.has_enough && make('p', null, 'Enough to be trained.'),
    ...actions(model.name));
}

function classList(name, rows) {
  return make('ul.classes', { tabindex: '0', 'aria-label': `Classes of ${name}` }, ...rows);
}

function meter(name, side, size, least) {
  return make('div.toward', null,
    make('div', null, `Images for ${side}`, make('span', null, `${size} of ${least}`)),
    make('progress', { max: least, value: Math.min(size, least), 'aria-label': `${name}: images for ${side}` }));
}

function actions(name) {
  const model = encodeURIComponent(name);
  return [
    make('p.actions', null,
      make('a', { href: `label?model=${model}`, 'aria-label': `Contribute to ${name}` }, 'Contribute'),
      make('a', { href: `dataset?model=${model}`, 'aria-label': `Dataset of ${name}` }, 'Dataset')),
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
    await loadPending();
    if (zip && await importZip(name, zip, told, new AbortController().signal)) byId('zip').value = '';
    if (!zip) byId('ask').reset();
  } catch (problem) {
    told.textContent = '';
    throw problem;
  } finally {
    byId('send').disabled = false;
  }
  await loadPending();
}

function start() {
  takeFromAddress();
  byId('ask').addEventListener('submit', (event) => {
    event.preventDefault();
    run(askForModel);
  });
  run(load);
}

start();
