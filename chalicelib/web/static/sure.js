/** The dialog that asks whether somebody is sure, before what cannot simply be undone. */

import { sentence } from './words.js';

const byId = (id) => document.getElementById(id);

/**
 * @typedef {{title: string, effect: string, verb: string, why?: boolean,
 *            act: (why: string) => Promise<void>}} Question `why`: ask for the reason too
 */

/** Asks, acts, and stays open with the problem where the act fails. */
export class Sure {
  constructor() {
    /** @type {?Question} */
    this.question = null;
    byId('sure-cancel').addEventListener('click', () => byId('sure').close());
    byId('sure-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.act();
    });
  }

  /** @param {Question} question */
  ask(question) {
    this.question = question;
    byId('sure-title').textContent = question.title;
    byId('sure-effect').textContent = question.effect;
    byId('sure-do').textContent = question.verb;
    byId('sure-problem').textContent = '';
    byId('sure-why').value = '';
    byId('sure-reason').hidden = !question.why;
    byId('sure').showModal();
    byId(question.why ? 'sure-why' : 'sure-do').focus();
  }

  async act() {
    byId('sure-do').disabled = true;
    byId('sure-problem').textContent = '';
    try {
      await this.question.act(byId('sure-why').value.trim());
      byId('sure').close();
    } catch (problem) {
      byId('sure-problem').textContent = problem.title ? `${problem.title}. ${sentence(problem.detail)}` : String(problem);
    }
    byId('sure-do').disabled = false;
  }
}
