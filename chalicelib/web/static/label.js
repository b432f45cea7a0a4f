/** The labelling tool: a photo with its predicted boxes, from opening it to what became of it. */

import { Canvas } from './annotation.js';
import { Answers } from './answers.js';
import { Problem } from './api.js';
import { BoxList } from './boxlist.js';
import { ClassField } from './classfield.js';
import { fetchTask, imageLink } from './contribute.js';
import { Draft } from './draft.js';
import { openKeys } from './keys.js';
import { signIn, signOut, signing, isSigned, whoLabels } from './signed.js';
import { Start } from './start.js';
import { Tags } from './tags.js';
import { adviceFor, tellTrouble } from './trouble.js';
import { Viewport } from './viewport.js';
import { deletePhoto } from './visibility.js';
import { counted, summary } from './words.js';

const ZOOM_STEP = 1.5;
const CALM_MS = 250;
const byId = (id) => document.getElementById(id);

/** Everything that is done with one photo after another. */
export class Tool {
  constructor() {
    /** @type {?import('./contribute.js').Task} */
    this.task = null;
    /** @type {?Draft} */
    this.draft = null;
    /** @type {?string} */
    this.chosen = null;
    /** @type {Map<string, string>} what the service found wrong, by the box's id */
    this.faults = new Map();
    this.opening = new AbortController();
    this.viewport = new Viewport(byId('scroller'), byId('frame'));
    this.canvas = new Canvas(this.viewport);
    this.tags = new Tags(byId('tags'));
    this.list = new BoxList();
    this.classField = new ClassField();
    this.answers = new Answers(this);
    this.start = new Start((id) => this.go(id));
    this.connect();
    this.take('draw');
    openKeys(this);
  }

  connect() {
    const { canvas, list, classField, viewport } = this;
    canvas.addEventListener('choose', ({ detail }) => this.choose(detail));
    canvas.addEventListener('drawn', ({ detail }) => this.add(detail));
    canvas.addEventListener('changed', ({ detail }) => this.edit(detail.id, detail.edges));
    canvas.addEventListener('changing', ({ detail }) => list.showEdges(detail.edges));
    list.addEventListener('choose', ({ detail }) => this.choose(detail, true));
    list.addEventListener('remove', ({ detail }) => this.remove(detail));
    list.addEventListener('edges', ({ detail }) => this.editEdges(detail.id, detail.edges));
    classField.addEventListener('pick', ({ detail }) => this.pickClass(detail));
    classField.addEventListener('leave', () => canvas.focus());
    viewport.addEventListener('zoom', () => this.tellZoom());
    byId('undo').addEventListener('click', () => this.undo());
    byId('redo').addEventListener('click', () => this.redo());
    byId('draw').addEventListener('click', () => this.take('draw'));
    byId('move').addEventListener('click', () => this.take('move'));
    byId('zoom-in').addEventListener('click', () => viewport.zoomBy(ZOOM_STEP));
    byId('zoom-out').addEventListener('click', () => viewport.zoomBy(1 / ZOOM_STEP));
    byId('zoom-fit').addEventListener('click', () => viewport.fit());
    byId('dismiss').addEventListener('click', () => {
      tellTrouble(null);
      canvas.focus();
    });
    byId('other').addEventListener('click', () => this.go(null));
    byId('delete-photo').addEventListener('click', () => this.deletePhoto());
    window.addEventListener('popstate', () => this.openAddress());
  }

  /**
   * Go to another photo, as a step of the browser's history; null: to where one is picked.
   * @param {?string} id of a prediction
   * @param {string} [told] why, in words for the person
   */
  go(id, told = '') {
    const address = new URL(window.location.href);
    if (id) address.searchParams.set('prediction', id);
    else address.searchParams.delete('prediction');
    if (this.task) address.searchParams.set('model', this.task.model);
    window.history.pushState(null, '', address);
    this.openAddress(told);
  }

  openAddress(told = '') {
    const id = new URLSearchParams(window.location.search).get('prediction');
    this.leave();
    if (id) this.open(id);
    else this.start.show(told);
  }

  /** Delete the photo that is open, with its boxes and answers, once the person is sure. */
  async deletePhoto() {
    if (!window.confirm('Delete this photo and your answer for good?')) return;
    byId('delete-photo').disabled = true;
    try {
      await deletePhoto(this.task.id);
      this.go(null, 'The photo is deleted.');
    } catch (problem) {
      tellTrouble(problem, '', null);
    }
    byId('delete-photo').disabled = false;
  }

  /** Let go of the photo that is open. */
  leave() {
    this.opening.abort();
    this.opening = new AbortController();
    this.canvas.close();
    this.task = null;
    this.draft = null;
    this.faults = new Map();
    tellTrouble(null);
    for (const id of ['view', 'work']) byId(id).hidden = true;
    byId('idle').hidden = false;
    this.start.hide();
  }

  async open(id) {
    const { signal } = this.opening;
    byId('view').hidden = false;
    this.progress('Fetching the photo …');
    try {
      const task = await fetchTask(id, signal);
      await this.load(task, signal);
      if (!signal.aborted) this.begin(task);
    } catch (error) {
      if (signal.aborted) return;
      const problem = error instanceof Problem ? error : failed(error);
      byId('view').hidden = true;
      const again = problem.status === 404 ? null : () => this.openAddress();
      tellTrouble(problem, adviceFor(problem, 'open'), again);
    }
    this.progress('');
  }

  /** Load the photo; a link that ran out is fetched anew once. */
  async load(task, signal) {
    const image = byId('photo');
    image.alt = `Photo to label: ${task.fileName}`;
    try {
      await loaded(image, task.image);
    } catch {
      if (signal.aborted) return;
      await loaded(image, await imageLink(task.id));
    }
  }

  begin(task) {
    this.task = task;
    this.chosen = null;
    this.draft = new Draft(task.id, task.detections);
    this.draft.addEventListener('change', () => this.changed());
    byId('work').hidden = false;
    byId('idle').hidden = true;
    byId('caption').textContent = `${task.fileName}, ${task.size.width} × ${task.size.height}`;
    byId('where').textContent = `on ${task.fileName}, for ${task.model}`
      + `${task.version ? ` version ${task.version}` : ', which is still to be trained'}`;
    this.viewport.open(task.size);
    this.canvas.open(task.size);
    this.classField.offer(task.classNames);
    this.refresh();
    const left = this.draft.resumed ? 'Your boxes of last time are here. ' : '';
    this.say(`${left}${this.total()} on ${task.fileName}`);
  }

  total() {
    const { boxes } = this.draft;
    if (!boxes.length) return 'No boxes';
    return summary(boxes.map(({ className }) => ({ class_name: className })));
  }

  changed() {
    tellTrouble(null);
    this.faults = new Map([...this.faults].filter(([id]) => this.draft.find(id)));
    if (!this.draft.find(this.chosen)) this.chosen = null;
    this.refresh();
  }

  refresh() {
    const { draft, chosen, faults } = this;
    this.canvas.draw(draft.boxes, chosen, new Set(faults.keys()));
    this.tags.draw(draft.boxes, chosen, this.task.size);
    this.list.draw(draft, chosen, faults);
    byId('total').textContent = this.total();
    byId('undo').disabled = !draft.past.length;
    byId('redo').disabled = !draft.future.length;
    const box = draft.find(chosen);
    if (box) this.classField.show(box.classId, `Class of box ${draft.boxes.indexOf(box) + 1}`);
    else this.classField.show(this.classField.value, 'Class of new boxes');
    this.answers.refresh();
  }

  /**
   * Choose a box.
   * @param {?string} id null: none
   * @param {boolean} [reveal] scroll the photo to it
   */
  choose(id, reveal = false) {
    if (!this.draft) return;
    const box = this.draft.find(id);
    this.draft.settle();
    this.chosen = box ? id : null;
    this.refresh();
    if (box && reveal) this.viewport.reveal(box);
    if (box) this.sayBox(box);
  }

  /** Let go of the drag that is going on, or of the box that is chosen. */
  letGo() {
    if (!this.canvas.cancel()) this.choose(null);
  }

  step(by) {
    const { boxes } = this.draft;
    if (!boxes.length) return;
    const at = boxes.findIndex(({ id }) => id === this.chosen);
    const to = at < 0 && by < 0 ? boxes.length - 1 : (at + by + boxes.length) % boxes.length;
    this.choose(boxes[to].id, true);
  }

  add(edges) {
    const classId = this.classField.value;
    const className = this.task.classNames[classId];
    const id = this.draft.add({ classId, className, ...edges });
    this.choose(id);
  }

  /** A box in the middle of what is seen, for those without a pointer. */
  addInMiddle() {
    const seen = this.viewport.seen();
    const spread = (from, to) => {
      const length = Math.max(Math.round((to - from) / 8), 1);
      const first = Math.floor((from + to - length) / 2);
      return [first, first + length];
    };
    const [x1, x2] = spread(seen.x1, seen.x2);
    const [y1, y2] = spread(seen.y1, seen.y2);
    this.add({ x1, y1, x2, y2 });
  }

  edit(id, change, kind = '') {
    this.faults.delete(id);
    this.draft.edit(id, change, kind);
    const box = this.draft.find(id);
    if (kind) this.viewport.reveal(box);
    this.sayBox(box);
  }

  /** Edges typed as numbers: in order, within the photo, a pixel apart where they would cross. */
  editEdges(id, { x1, y1, x2, y2 }) {
    const { width, height } = this.task.size;
    const [left, right] = inOrder(x1, x2, width);
    const [top, bottom] = inOrder(y1, y2, height);
    this.edit(id, { x1: left, y1: top, x2: right, y2: bottom });
    this.refresh();
    this.viewport.reveal(this.draft.find(id));
  }

  remove(id) {
    const box = this.draft.find(id);
    if (!box) return;
    this.say(`Box ${this.draft.boxes.indexOf(box) + 1} deleted`);
    this.draft.remove(id);
    this.draft.settle();
  }

  pickClass(classId) {
    this.setClass(classId);
    this.canvas.focus();
  }

  /** @returns {boolean} whether there is such a class */
  setClass(classId) {
    const className = this.task.classNames[classId];
    if (className === undefined) return false;
    this.classField.value = classId;
    if (this.draft.find(this.chosen)) this.edit(this.chosen, { classId, className });
    this.refresh();
    return true;
  }

  undo() {
    if (this.draft.undo()) this.say(`Undone: ${this.total()}`);
    return true;
  }

  redo() {
    if (this.draft.redo()) this.say(`Redone: ${this.total()}`);
    return true;
  }

  sendLikely() {
    this.answers.sendLikely();
    return true;
  }

  zoomToChosen() {
    const box = this.draft.find(this.chosen);
    if (box) this.viewport.zoomTo(box);
    else this.viewport.fit();
  }

  /** @param {'draw' | 'move'} kind what a drag does */
  take(kind) {
    this.viewport.moving = kind === 'move';
    this.canvas.allowDrawing(kind === 'draw');
    byId('draw').setAttribute('aria-pressed', String(kind === 'draw'));
    byId('move').setAttribute('aria-pressed', String(kind === 'move'));
  }

  tellZoom() {
    const { viewport } = this;
    const told = `${Math.round(viewport.scale * 100)}\u202f%`;
    byId('zoom-fit').textContent = viewport.fits ? 'Fit' : told;
    byId('zoom-fit').setAttribute('aria-label', viewport.fits ? 'Fit' : `${told}, fit again`);
    byId('zoom-out').disabled = viewport.fits;
  }

  progress(text) {
    byId('progress').hidden = !text;
    byId('progress').textContent = text;
  }

  sayBox(box) {
    const edges = ['x1', 'y1', 'x2', 'y2'].map((edge) => Math.round(box[edge] * 10) / 10);
    const number = this.draft.boxes.indexOf(box) + 1;
    this.say(`Box ${number} of ${counted(this.draft.boxes.length, 'box')}, ${box.className}, `
      + `${edges[0]}, ${edges[1]} to ${edges[2]}, ${edges[3]}`);
  }

  /** Tell those who cannot see it, once things are calm. */
  say(text) {
    clearTimeout(this.telling);
    this.telling = setTimeout(() => { byId('live').textContent = text; }, CALM_MS);
  }
}

function inOrder(one, other, length) {
  const inside = (at) => Math.min(Math.max(at, 0), length);
  const [first, last] = [one, other].map(inside).sort((a, b) => a - b);
  if (last > first) return [first, last];
  return first + 1 <= length ? [first, first + 1] : [length - 1, length];
}

function loaded(image, address) {
  return new Promise((resolve, reject) => {
    image.onload = resolve;
    image.onerror = () => reject(new Problem({
      title: 'The photo does not load',
      detail: 'The storage could not be reached, or the photo is gone.',
      retry: true,
    }));
    image.src = address;
  });
}

function failed(error) {
  return new Problem({ title: 'This page failed', detail: String(error), retry: true });
}

/** Say by whose name answers are sent; a link that is opened in the same tab brings another. */
function openSigned() {
  signing.addEventListener('change', () => {
    byId('signed').hidden = !whoLabels();
    byId('signed-text').textContent = whoLabels();
    byId('sign-out').hidden = !isSigned();
  });
  byId('sign-out').addEventListener('click', () => signOut());
  window.addEventListener('hashchange', () => {
    if (new URLSearchParams(window.location.hash.slice(1)).has('token')) signIn();
  });
  signIn();
}

openSigned();
new Tool().openAddress();
