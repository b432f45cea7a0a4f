/** The page that shows what a model is trained on. */

import { json, listModels } from './api.js';
import { make, when } from './build.js';
import { Gallery } from './gallery.js';
import { ask, takeFromAddress, token } from './operator.js';
import { plots } from './plots.js';
import { counted } from './words.js';

const byId = (id) => document.getElementById(id);
const gallery = new Gallery();
/** How long to wait before a worker is asked again how far it is. */
const ASK_AGAIN_MS = 2000;

/** Do what may fail, and say so where it does. */
async function run(act) {
  try {
    byId('problem').hidden = true;
    await act();
  } catch (problem) {
    failed(problem);
  }
}

function failed(problem) {
  byId('problem').textContent = `${problem.title ?? 'That did not work'}. ${problem.detail ?? problem.message}`;
  byId('problem').hidden = false;
}

function path() {
  return `v1/models/${encodeURIComponent(byId('model').value)}`;
}

async function start() {
  const [live, pending] = await Promise.all([listModels(), json('v1/pending-models').catch(() => ({ models: [] }))]);
  const names = [...live, ...pending.models].map(({ name }) => name);
  if (!names.length) throw new Error('There is no model yet.');
  const waiting = new Set(pending.models.map(({ name }) => name));
  const options = [...new Set(names)].map((name) => new Option(waiting.has(name) ? `${name} (no version yet)` : name, name));
  byId('model').replaceChildren(...options);
  const wanted = new URLSearchParams(window.location.search).get('model');
  if (names.includes(wanted)) byId('model').value = wanted;
  byId('model').disabled = false;
  await open();
}

async function open() {
  const model = byId('model').value;
  const dataset = await json(`${path()}/dataset`);
  if (byId('model').value !== model) return;
  byId('title').textContent = `What ${model} is trained on`;
  byId('facts').replaceChildren(...plots(dataset));
  byId('for-operators').hidden = Boolean(token());
  byId('shown-to-operators').hidden = !token();
  byId('versions').hidden = !token();
  if (!token()) return;
  await Promise.all([gallery.open(model, dataset.class_names), listVersions()]);
}

async function listVersions() {
  const { versions } = await ask(`${path()}/datasets`);
  byId('named').replaceChildren(...versions.map((version) => make('li', null,
    make('code', null, version.sha256),
    make('span.soft', null, when(version.created_at)),
    make('span', null, `${counted(version.training, 'image')} to train, ${version.validation} to validate, ${counted(version.boxes, 'box')}`),
    make('a', { href: version.links.manifest }, 'Manifest'))));
}

/** Wait until a large version is written down, which a worker does. */
async function written(told) {
  let version = told;
  while (version.cut_id && version.state !== 'done') {
    if (version.state === 'failed') throw new Error(version.problem);
    byId('cut-told').textContent = version.state === 'queued' ? 'Waiting for a worker …' : 'Writing …';
    await new Promise((resolve) => { setTimeout(resolve, ASK_AGAIN_MS); });
    version = await ask(`v1/cuts/${version.cut_id}`);
  }
  return version;
}

async function cut() {
  byId('cut').disabled = true;
  byId('cut-told').textContent = 'Writing …';
  try {
    const version = await written(await ask(`${path()}/datasets`, { method: 'POST' }));
    byId('cut-told').textContent = `It is called ${version.sha256}.`;
    await listVersions();
  } catch (problem) {
    byId('cut-told').textContent = '';
    throw problem;
  } finally {
    byId('cut').disabled = false;
  }
}

gallery.addEventListener('failed', ({ detail }) => failed(detail));
byId('wanted').addEventListener('submit', (event) => event.preventDefault());
byId('cut').addEventListener('click', () => run(cut));
byId('model').addEventListener('change', () => {
  const address = new URL(window.location.href);
  address.searchParams.set('model', byId('model').value);
  window.history.replaceState(null, '', address);
  run(open);
});

takeFromAddress();
run(start);
