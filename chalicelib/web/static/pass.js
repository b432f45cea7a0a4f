/** Showing an operator's token on a page that anybody may read. */

import { remember, takeFromAddress, token } from './operator.js';
import { sentence } from './words.js';

const byId = (id) => document.getElementById(id);

/** Fires `change` when a token is given or forgotten. */
export class Pass extends EventTarget {
  constructor() {
    super();
    byId('enter').addEventListener('click', () => this.open(''));
    byId('leave').addEventListener('click', () => this.keep(''));
    byId('pass-cancel').addEventListener('click', () => byId('pass').close());
    byId('pass-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.keep(byId('token').value);
      byId('pass').close();
    });
    window.addEventListener('hashchange', () => this.take());
    takeFromAddress();
    this.show();
  }

  /** @returns {boolean} whether a token was given; the service tells whether it is good */
  get given() {
    return Boolean(token());
  }

  /** @param {string} why it is asked for */
  open(why) {
    byId('pass-why').textContent = why;
    byId('token').value = '';
    if (!byId('pass').open) byId('pass').showModal();
    byId('token').focus();
  }

  /** Forget a token that the service refuses, and ask for another. */
  refuse(problem) {
    this.keep('');
    this.open(`${problem.title}. ${sentence(problem.detail)}`);
  }

  take() {
    takeFromAddress();
    this.keep(token());
  }

  keep(given) {
    remember(given);
    this.show();
    this.dispatchEvent(new Event('change'));
  }

  show() {
    byId('enter').hidden = this.given;
    byId('leave').hidden = !this.given;
  }
}
