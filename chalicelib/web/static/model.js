/** The choice of a model, and what is known of the one that was chosen. */

import { listServing, showModel } from './api.js';
import { joined, percent, plural } from './words.js';

const MOST_NAMED = 4;
const COPIED_MS = 2000;
const byId = (id) => document.getElementById(id);

/** The models to pick from. Fires `change` when another is picked, also the first. */
export class ModelChoice extends EventTarget {
  constructor() {
    super();
    this.models = [];
    this.select = byId('model');
    this.select.addEventListener('change', () => this.chosen());
    byId('reload').addEventListener('click', () => this.load());
  }

  /** @returns {string} empty while there is none */
  get name() {
    return this.select.disabled ? '' : this.select.value;
  }

  /** Ask which models there are, and take the one that the address names. */
  async load() {
    byId('reload').hidden = true;
    tell('Loading …');
    try {
      this.models = await listServing();
    } catch (problem) {
      this.fail(`${problem.title}. ${problem.detail}`);
      return;
    }
    if (!this.models.length) {
      this.fail('No model detects yet. Register one, then try again.');
      return;
    }
    this.fill();
    this.chosen();
  }

  fill() {
    this.select.replaceChildren(...this.models.map(({ name }) => new Option(name, name)));
    this.select.disabled = false;
    const wanted = new URLSearchParams(window.location.search).get('model');
    if (this.models.some(({ name }) => name === wanted)) this.select.value = wanted;
  }

  fail(text) {
    this.select.replaceChildren(new Option('none'));
    this.select.disabled = true;
    tell(text);
    byId('reload').hidden = false;
  }

  async chosen() {
    const model = this.models.find(({ name }) => name === this.name);
    const kinds = kindsOf(model.class_names);
    byId('invitation').textContent = `${verb()} a photo to look for ${kinds}`;
    tell(`${model.name}, version ${model.live_version}, looks for ${kinds}.`);
    byId('facts').replaceChildren();
    showShell(model.name);
    this.dispatchEvent(new Event('change'));
    await showFacts(model.name).catch(() => {}); // they are nice to have, no more
  }
}

function tell(text) {
  byId('about-text').textContent = text;
}

/** Nothing can be dropped with a finger. */
function verb() {
  return window.matchMedia('(hover: none)').matches ? 'Add' : 'Drop';
}

function kindsOf(names) {
  if (names.length > MOST_NAMED) return `${names.length} kinds of things`;
  return joined(names.map(plural), 'or');
}

async function showFacts(name) {
  const model = await showModel(name);
  if (byId('model').value !== name) return;
  const live = model.versions.find((version) => version.live);
  const facts = [];
  if (live?.map50 != null) facts.push(['Average precision (IoU 0.5)', percent(live.map50)]);
  if (model.validation_set_size) facts.push(['Measured on', `${model.validation_set_size} images`]);
  if (model.training_set_size) facts.push(['Trained on', `${model.training_set_size} images`]);
  byId('facts').replaceChildren(...facts.map(([title, value]) => {
    const pair = document.createElement('div');
    const [term, description] = [document.createElement('dt'), document.createElement('dd')];
    term.textContent = title;
    description.textContent = value;
    pair.append(term, description);
    return pair;
  }));
}

function showShell(name) {
  const address = new URL(`v1/models/${encodeURIComponent(name)}/detections`, document.baseURI);
  byId('curl').textContent = 'curl --data-binary @photo.jpg \\\n'
    + `  -H 'Content-Type: image/jpeg' \\\n${address.origin}${address.pathname}`;
  byId('shell').hidden = false;
  byId('copy').hidden = !navigator.clipboard;
  byId('copy').onclick = copyShell;
}

/** Copy the command; where the browser forbids that, mark it for the person to copy. */
async function copyShell() {
  try {
    await navigator.clipboard.writeText(byId('curl').textContent);
    byId('copy').textContent = 'Copied';
    setTimeout(() => { byId('copy').textContent = 'Copy'; }, COPIED_MS);
  } catch {
    window.getSelection().selectAllChildren(byId('curl'));
  }
}
