/** Where a photo is picked: one that waits for a person, or one that somebody brings. */

import { Problem } from './api.js';
import { keepPhoto, listAllModels, nextPhoto } from './contribute.js';
import { adviceFor, isRefused, tellTrouble } from './trouble.js';
import { promise } from './visibility.js';

const INVITATION = 'Every photo that you look through teaches it.';
const NONE_WAITS = 'No photo waits for a person just now. Bring one of your own.';
const byId = (id) => document.getElementById(id);

/** What is seen while no photo is open. */
export class Start {
  /** @param {(id: string) => void} go opens a prediction */
  constructor(go) {
    this.go = go;
    this.models = [];
    this.stopping = new AbortController();
    byId('next').addEventListener('click', () => this.next());
    byId('choose').addEventListener('click', () => byId('files').click());
    byId('model').addEventListener('change', () => this.sayWhoSees());
    byId('files').addEventListener('change', () => {
      const [file] = byId('files').files;
      byId('files').value = ''; // so that the same file can be chosen again
      if (file) this.bring(file);
    });
  }

  /**
   * Come into view.
   * @param {string} [told] why, in words for the person
   */
  show(told = '') {
    byId('empty').hidden = false;
    byId('start-text').textContent = told || INVITATION;
    this.busy(false);
    if (told) byId('choose').focus();
    if (!this.models.length) this.load();
    else this.pick();
  }

  /** Go out of view, and let go of what was being done. */
  hide() {
    this.stopping.abort();
    this.stopping = new AbortController();
    byId('empty').hidden = true;
  }

  async load() {
    try {
      this.models = await listAllModels();
    } catch (problem) {
      byId('empty').hidden = true;
      tellTrouble(problem, '', () => { tellTrouble(null); this.show(); });
      return;
    }
    byId('model').replaceChildren(...this.models.map((model) => new Option(nameOf(model), model.name)));
    if (!this.models.length) byId('start-text').textContent = 'There is no model yet.';
    this.pick();
    this.busy(false);
  }

  pick() {
    const wanted = new URLSearchParams(window.location.search).get('model');
    if (this.models.some(({ name }) => name === wanted)) byId('model').value = wanted;
    this.sayWhoSees();
  }

  /** Say who may be shown a photo, before one is brought. */
  sayWhoSees() {
    byId('promise').textContent = `Bring a photo: ${promise(this.model).replace('The photo is then', 'it is')}`;
  }

  get model() {
    return this.models.find(({ name }) => name === byId('model').value);
  }

  busy(busy, text = '') {
    for (const id of ['model', 'next', 'choose']) byId(id).disabled = busy || !this.models.length;
    if (text) byId('start-text').textContent = text;
  }

  async next() {
    const { signal } = this.stopping;
    this.busy(true, 'Looking for a photo …');
    try {
      const id = await nextPhoto(this.model.name);
      if (signal.aborted) return;
      if (id) this.go(id);
      else this.show(NONE_WAITS);
    } catch (problem) {
      if (!signal.aborted) this.fail(problem, () => this.next());
    }
  }

  /**
   * Have a photo looked at, and open it.
   * @param {File} file
   */
  async bring(file) {
    const { signal } = this.stopping;
    const tell = (step) => { if (!signal.aborted) this.busy(true, step); };
    tell('Sending the photo …');
    try {
      const id = await keepPhoto(this.model, file, {}, tell, signal);
      if (!signal.aborted) this.go(id);
    } catch (error) {
      if (signal.aborted) return;
      const problem = error instanceof Problem ? error : broken(error);
      this.fail(problem, problem.retry || isRefused(problem) ? () => this.bring(file) : null);
    }
  }

  fail(problem, again) {
    byId('empty').hidden = true;
    const retried = again && (() => { tellTrouble(null); this.show(); again(); });
    tellTrouble(problem, adviceFor(problem, 'bring'), retried);
  }
}

function nameOf({ name, live_version: version }) {
  return version === null ? `${name} (to be trained)` : name;
}

function broken(error) {
  return new Problem({ title: 'This page failed', detail: String(error), retry: true });
}
