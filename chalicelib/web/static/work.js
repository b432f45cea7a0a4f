/**
 * The photos and what is being done about them: a few at a time, in the order they came.
 *
 * @typedef {'queued' | 'working' | 'done' | 'failed'} State
 */

import { Problem, detect } from './api.js';
import { photoType, thumbnail } from './files.js';
import { INLINE_BYTES, detectByUpload } from './upload.js';

const AT_A_TIME = 2;
let lastId = 0;

/** One photo. */
export class Photo {
  /** @param {File} file */
  constructor(file) {
    lastId += 1;
    this.id = lastId;
    this.file = file;
    this.name = file.name || 'pasted photo';
    this.address = URL.createObjectURL(file);
    this.thumbnail = '';
    this.reset();
  }

  /** Forget what was found, so that it is looked at anew. */
  reset() {
    this.stopping?.abort();
    this.stopping = new AbortController();
    /** @type {State} */
    this.state = 'queued';
    this.step = 'Waiting for its turn …';
    /** @type {?import('./api.js').Answer} */
    this.answer = null;
    /** @type {?import('./api.js').Problem} */
    this.problem = null;
    this.uploaded = false;
    this.roundTripMs = 0;
  }

  /** Let go of what it holds. */
  release() {
    this.stopping.abort();
    URL.revokeObjectURL(this.address);
    URL.revokeObjectURL(this.thumbnail);
  }
}

/**
 * All photos. Fires `change` (detail: the photo) and `members` when photos come or go.
 */
export class Work extends EventTarget {
  /** @param {string} model that looks at them */
  constructor(model = '') {
    super();
    this.model = model;
    /** @type {Photo[]} */
    this.photos = [];
    this.running = 0;
    this.sketching = Promise.resolve();
  }

  /** @returns {boolean} whether nothing is left to be looked at */
  get finished() {
    return this.photos.every(({ state }) => state === 'done' || state === 'failed');
  }

  /**
   * Take photos in and look at them.
   * @param {File[]} files
   * @returns {Photo[]}
   */
  add(files) {
    const added = files.map((file) => new Photo(file));
    this.photos.push(...added);
    this.tell('members');
    for (const photo of added) this.sketch(photo);
    this.start();
    return added;
  }

  /**
   * Take photos out, and let go of them once nothing shows them any more.
   * @param {Photo[]} photos
   */
  remove(photos) {
    this.photos = this.photos.filter((photo) => !photos.includes(photo));
    this.tell('members');
    for (const photo of photos) photo.release();
  }

  /**
   * Look at a photo once more.
   * @param {Photo} photo
   */
  again(photo) {
    photo.reset();
    this.tell('change', photo);
    this.start();
  }

  /**
   * Have another model look at everything.
   * @param {string} model
   */
  changeModel(model) {
    this.model = model;
    for (const photo of this.photos) this.again(photo);
    this.start();
  }

  /** Start as many as may run. */
  start() {
    if (!this.model) return;
    for (const photo of this.photos) {
      if (this.running >= AT_A_TIME) return;
      if (photo.state === 'queued') this.run(photo);
    }
  }

  /** @param {Photo} photo */
  async run(photo) {
    const { signal } = photo.stopping;
    this.running += 1;
    photo.state = 'working';
    this.step(photo, 'Looking …');
    try {
      const answer = await this.look(photo, signal);
      this.settle(photo, signal, { state: 'done', answer });
    } catch (error) {
      const problem = error instanceof Problem ? error : unexpected(error);
      this.settle(photo, signal, { state: 'failed', problem });
    }
    this.running -= 1;
    this.start();
  }

  /** @returns {Promise<import('./api.js').Answer>} */
  async look(photo, signal) {
    const { model } = this;
    const type = await photoType(photo.file);
    const started = performance.now();
    const answer = await this.ask(model, photo, type, signal);
    if (!signal.aborted) photo.roundTripMs = performance.now() - started;
    return answer;
  }

  /** Ask in one call where that carries the photo, and through an upload where it does not. */
  async ask(model, photo, type, signal) {
    if (photo.file.size <= INLINE_BYTES) {
      try {
        return await detect(model, photo.file, type, signal);
      } catch (problem) {
        if (problem.status !== 413) throw problem;
      }
    }
    photo.uploaded = true;
    return detectByUpload(model, photo.file, type, signal, (step) => {
      if (!signal.aborted) this.step(photo, step);
    });
  }

  /** Note how it ended, unless it was stopped: then somebody else has the photo. */
  settle(photo, signal, ended) {
    if (signal.aborted) return;
    Object.assign(photo, ended);
    this.tell('change', photo);
  }

  step(photo, step) {
    photo.step = step;
    this.tell('change', photo);
  }

  /** Draw its thumbnail when those before it are drawn. */
  sketch(photo) {
    this.sketching = this.sketching.then(async () => {
      const small = await thumbnail(photo.file);
      if (!small || !this.photos.includes(photo)) return;
      photo.thumbnail = URL.createObjectURL(small);
      this.tell('change', photo);
    });
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function unexpected(error) {
  return new Problem({ title: 'This page failed', detail: String(error), retry: true });
}
