/** The images of a dataset, for operators: pages of them, groups that look alike, one's history. */

import { drawn, make, when } from './build.js';
import { ask } from './operator.js';
import { colourOf } from './palette.js';
import { counted } from './words.js';

const byId = (id) => document.getElementById(id);
const SIDES = { train: 'training', valid: 'validation' };
const WENT = { doubted: 'its author is distrusted', banned: 'its author was banned', replaced: 'its author sent another', rejected: 'an operator rejected it' };

/** Fires `failed` with the problem where something could not be loaded. */
export class Gallery extends EventTarget {
  constructor() {
    super();
    this.path = '';
    this.next = null;
    for (const id of ['what', 'side', 'class']) byId(id).addEventListener('change', () => this.run(() => this.load()));
    byId('more').addEventListener('click', () => this.run(() => this.add()));
    byId('close').addEventListener('click', () => byId('history').close());
    byId('history').addEventListener('click', ({ target }) => target.id === 'history' && target.close());
  }

  /** Do what may fail. */
  run(act) {
    act().catch((problem) => this.dispatchEvent(new CustomEvent('failed', { detail: problem })));
  }

  /**
   * Show another dataset from its beginning.
   * @param {string} model
   * @param {string[]} classNames by class id
   */
  async open(model, classNames) {
    this.path = `v1/models/${encodeURIComponent(model)}`;
    const options = classNames.map((name, id) => new Option(name, id));
    byId('class').replaceChildren(new Option('any', ''), ...options);
    await this.load();
  }

  async load() {
    const groups = byId('what').value !== 'images';
    byId('of-side').hidden = groups;
    byId('of-class').hidden = groups;
    byId('images').replaceChildren();
    this.next = 0;
    await this.add();
  }

  async add() {
    const [path, after] = [this.address(), this.next];
    const page = await ask(`${path}&after=${after}`);
    if (path !== this.address() || after !== this.next) return;
    this.next = page.next;
    byId('images').append(...(page.clusters ?? []).map((each) => this.together(each)),
      ...(page.images ?? []).map((each) => this.shot(each)));
    byId('more').hidden = page.next === null;
    byId('none').hidden = byId('images').children.length > 0;
  }

  address() {
    const what = byId('what').value;
    if (what !== 'images') return `${this.path}/dataset/clusters?limit=10&leaking=${what === 'leaking'}`;
    const query = new URLSearchParams({ limit: 24 });
    for (const id of ['side', 'class']) if (byId(id).value) query.set(id, byId(id).value);
    return `${this.path}/dataset/images?${query}`;
  }

  together(cluster) {
    const all = cluster.training + cluster.validation;
    const shown = cluster.images.length < all ? `, ${cluster.images.length} of them here` : '';
    const told = `${counted(all, 'image')}${shown}: ${cluster.training} for training, ${cluster.validation} for validation`;
    return make('li.together', null, make('p', null, told),
      make('ul.images', { 'aria-label': told }, ...cluster.images.map((each) => this.shot(each))));
  }

  shot(image) {
    const boxes = image.boxes === null ? 'no label' : counted(image.boxes, 'box');
    const told = `${SIDES[image.side]}, ${boxes}${image.leaking ? ', leaks' : ''}`;
    const button = make('button.shot', { type: 'button', onclick: () => this.run(() => this.history(image)) },
      make('img', { src: image.links.image, alt: '', loading: 'lazy', width: image.width, height: image.height }),
      make('span', null, told, make('span.unseen', null, `, image ${image.sha256.slice(0, 8)}`)));
    return make('li', null, button);
  }

  async history({ sha256 }) {
    const image = await ask(`${this.path}/dataset/images/${sha256}`);
    const plate = make('div.plate');
    const buttons = image.labels.map((label) => entry(label, () => choose(label)));
    const choose = (label) => {
      plate.replaceChildren(make('img', { src: image.links.image, alt: `The image, with ${boxesOf(label)}` }),
        overlay(image, label?.boxes ?? []));
      buttons.forEach((button, at) => button.setAttribute('aria-pressed', image.labels[at] === label));
    };
    choose(image.labels.find((label) => label.current) ?? image.labels[0]);
    byId('past').replaceChildren(make('div.pages-of', null, plate,
      make('div.past', { role: 'group', 'aria-label': 'Labels, newest first' }, ...buttons,
        buttons.length === 0 && make('p.soft', null, 'Nobody has labelled it yet.'))));
    byId('history-title').textContent = `Image ${sha256.slice(0, 12)}, ${SIDES[image.side]}`;
    byId('history').showModal();
  }
}

function boxesOf(label) {
  return label?.boxes.length ? counted(label.boxes.length, 'box') : 'no boxes';
}

function entry(label, choose) {
  const became = label.current ? 'the label now'
    : label.withdrawn_why ? `taken back: ${WENT[label.withdrawn_why]}` : 'another is newer';
  const made = make('button', { type: 'button', onclick: choose },
    make('strong', null, label.user ?? label.origin), make('span', null, when(label.created_at), ` · ${boxesOf(label)}`),
    make('span', null, became));
  if (label.withdrawn_at) made.append(make('span', null, 'on ', when(label.withdrawn_at)));
  return made;
}

function overlay({ width, height }, boxes) {
  return drawn('svg', { viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' },
    ...boxes.map(({ class_id: id, box }) => drawn('rect', {
      x: box.x1, y: box.y1, width: box.x2 - box.x1, height: box.y2 - box.y1, stroke: colourOf(id),
    })));
}
