/** A field for a class: what is typed narrows the list, arrow keys and Enter take one of it. */

import { colourOf } from './palette.js';

const MOST_OPTIONS = 60;
const byId = (id) => document.getElementById(id);

/** Fires `pick` (detail: the class id). */
export class ClassField extends EventTarget {
  constructor() {
    super();
    this.names = [];
    this.value = 0;
    this.matches = [];
    this.at = -1;
    this.input = byId('class');
    this.list = byId('classes');
    this.input.addEventListener('focus', () => this.input.select());
    this.input.addEventListener('click', () => this.open(''));
    this.input.addEventListener('input', () => this.open(this.input.value));
    this.input.addEventListener('keydown', (event) => this.key(event));
    this.input.addEventListener('blur', () => this.shut());
    this.list.addEventListener('pointerdown', (event) => event.preventDefault()); // keeps the focus
    this.list.addEventListener('click', (event) => {
      const option = event.target.closest('[role=option]');
      if (option) this.pick(Number(option.dataset.id));
    });
  }

  /**
   * Offer these classes.
   * @param {string[]} names by class id
   */
  offer(names) {
    this.names = names;
    this.show(Math.min(this.value, names.length - 1), 'Class of new boxes');
  }

  /**
   * Show a class.
   * @param {number} id
   * @param {string} label what it is the class of
   */
  show(id, label) {
    this.value = Math.max(id, 0);
    byId('class-label').textContent = label;
    this.input.style.setProperty('--mark', colourOf(this.value));
    if (this.list.hidden) this.input.value = this.names[this.value] ?? '';
  }

  /** Go to the field, with all classes to pick from. */
  focus() {
    this.input.focus();
    this.open('');
  }

  open(typed) {
    const found = matching(this.names, typed);
    this.matches = found.slice(0, MOST_OPTIONS);
    this.at = this.matches.length ? Math.max(typed ? 0 : this.matches.indexOf(this.value), 0) : -1;
    this.list.replaceChildren(...this.matches.map((id) => this.optionOf(id)));
    this.list.hidden = !this.matches.length;
    this.input.setAttribute('aria-expanded', String(!this.list.hidden));
    byId('class-note').hidden = Boolean(found.length) && found.length <= MOST_OPTIONS;
    byId('class-note').textContent = found.length
      ? `${found.length - MOST_OPTIONS} more: type some letters.`
      : 'No class of this model has these letters.';
    this.mark();
  }

  optionOf(id) {
    const option = document.createElement('li');
    option.id = `class-${id}`;
    option.setAttribute('role', 'option');
    option.dataset.id = id;
    option.style.setProperty('--mark', colourOf(id));
    option.textContent = this.names[id];
    return option;
  }

  mark() {
    [...this.list.children].forEach((option, index) => {
      option.setAttribute('aria-selected', String(index === this.at));
    });
    const option = this.list.children[this.at];
    if (option) this.input.setAttribute('aria-activedescendant', option.id);
    else this.input.removeAttribute('aria-activedescendant');
    option?.scrollIntoView({ block: 'nearest' });
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if (this.list.hidden) this.open('');
      else this.at = (this.at + step + this.matches.length) % this.matches.length;
      this.mark();
    }
    if (event.key === 'Enter' && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      if (this.at >= 0 && !this.list.hidden) this.pick(this.matches[this.at]);
    }
    if (event.key === 'Escape') {
      event.stopPropagation();
      this.shut();
      this.tell('leave');
    }
  }

  pick(id) {
    this.value = id;
    this.shut();
    this.tell('pick', id);
  }

  shut() {
    this.list.hidden = true;
    byId('class-note').hidden = true;
    this.input.setAttribute('aria-expanded', 'false');
    this.input.removeAttribute('aria-activedescendant');
    this.input.value = this.names[this.value] ?? '';
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * Find the classes that have the letters typed: first those that begin with them.
 * @param {string[]} names
 * @param {string} typed
 * @returns {number[]} class ids
 */
export function matching(names, typed) {
  const wanted = typed.trim().toLocaleLowerCase();
  const places = names.map((name, id) => [name.toLocaleLowerCase().indexOf(wanted), id]);
  return places.filter(([place]) => place >= 0)
    .sort(([a, one], [b, other]) => Number(a > 0) - Number(b > 0) || one - other)
    .map(([, id]) => id);
}
