/** The contact sheet: one frame for each photo, with how it stands. */

import { leaveOneStop, rove } from './selection.js';

/** The tabs of the photos. */
export class Sheet {
  /**
   * @param {HTMLElement} list
   * @param {{open: Function, remove: Function}} acts on a photo
   * @param {(photo: import('./work.js').Photo) => number} countOf boxes that are shown of it
   */
  constructor(list, acts, countOf) {
    this.list = list;
    this.acts = acts;
    this.countOf = countOf;
    /** @type {Map<import('./work.js').Photo, HTMLElement>} */
    this.tabs = new Map();
    rove(list, () => [...this.tabs.values()], (tab) => tab.click());
    list.addEventListener('keydown', (event) => this.key(event));
  }

  /**
   * Show these photos.
   * @param {import('./work.js').Photo[]} photos
   * @param {?import('./work.js').Photo} current
   */
  show(photos, current) {
    for (const [photo, tab] of this.tabs) {
      if (!photos.includes(photo)) {
        tab.remove();
        this.tabs.delete(photo);
      }
    }
    for (const photo of photos) {
      if (!this.tabs.has(photo)) this.append(photo);
      this.update(photo);
    }
    this.select(current);
  }

  append(photo) {
    const tab = document.createElement('button');
    tab.type = 'button';
    tab.id = `tab-${photo.id}`;
    tab.className = 'tab';
    tab.setAttribute('role', 'tab');
    tab.setAttribute('aria-controls', 'view');
    tab.innerHTML = '<span class="kind"></span><img alt="" hidden><svg class="round" viewBox="0 0 100 70" '
      + 'preserveAspectRatio="none" aria-hidden="true"><path d="M62 6C40 2 12 6 6 24c-6 22 6 40 40 '
      + '41 32 1 50-12 49-34C94 12 72 5 34 9" vector-effect="non-scaling-stroke"/></svg>'
      + '<span class="badge"></span>';
    tab.querySelector('.kind').textContent = photo.name.split('.').at(-1).slice(0, 5);
    tab.addEventListener('click', () => this.acts.open(photo));
    this.tabs.set(photo, tab);
    this.list.append(tab);
  }

  /** @param {import('./work.js').Photo} photo */
  update(photo) {
    const tab = this.tabs.get(photo);
    if (!tab) return;
    const image = tab.querySelector('img');
    if (photo.thumbnail && image.hidden) {
      image.src = photo.thumbnail;
      image.hidden = false;
    }
    const told = this.stateOf(photo);
    tab.dataset.state = photo.state;
    tab.querySelector('.badge').textContent = told.short;
    tab.title = photo.name;
    tab.setAttribute('aria-label', `${photo.name}: ${told.long}`);
  }

  stateOf(photo) {
    if (photo.state === 'failed') return { short: '!', long: photo.problem.title };
    if (photo.state !== 'done') return { short: '…', long: photo.step };
    const count = this.countOf(photo);
    return { short: String(count), long: count === 1 ? '1 box' : `${count} boxes` };
  }

  /** @param {?import('./work.js').Photo} current */
  select(current) {
    for (const [photo, tab] of this.tabs) {
      tab.setAttribute('aria-selected', String(photo === current));
    }
    leaveOneStop([...this.tabs.values()], this.tabs.get(current));
    this.tabs.get(current)?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }

  /** @param {import('./work.js').Photo} photo */
  focus(photo) {
    this.tabs.get(photo)?.focus();
  }

  key(event) {
    if (event.key !== 'Delete' && event.key !== 'Backspace') return;
    for (const [photo, tab] of this.tabs) if (tab === event.target) this.acts.remove(photo);
  }
}
