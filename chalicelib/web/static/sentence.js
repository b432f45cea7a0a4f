/** The dialog in which somebody is banned, or a ban is lifted: always with a reason. */

import { ask } from './operator.js';

const byId = (id) => document.getElementById(id);
const TITLE = { ban: (user) => `Ban ${user}?`, lift: (user) => `Lift the ban of ${user}?` };
const EFFECT = {
  ban: 'They are refused by everything that writes. What they sent and nobody reviewed leaves the dataset.',
  lift: 'They may send corrections again. What the ban took out of the dataset comes back.',
};
const VERB = { ban: 'Ban', lift: 'Lift the ban' };

/** Fires `done` with `{act, user}` once the decision stands. */
export class Sentence extends EventTarget {
  constructor() {
    super();
    this.act = 'ban';
    this.user = '';
    byId('sentence-cancel').addEventListener('click', () => byId('sentence').close());
    byId('sentence-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.pass();
    });
  }

  /**
   * Ask for the reason.
   * @param {'ban'|'lift'} act
   * @param {string} user
   */
  open(act, user) {
    this.act = act;
    this.user = user;
    byId('sentence-title').textContent = TITLE[act](user);
    byId('sentence-effect').textContent = EFFECT[act];
    byId('sentence-do').textContent = VERB[act];
    byId('sentence-why').value = '';
    byId('sentence-problem').textContent = '';
    byId('sentence').showModal();
    byId('sentence-why').focus();
  }

  async pass() {
    const why = byId('sentence-why').value.trim();
    if (!why) {
      byId('sentence-problem').textContent = 'Say why: it is kept with the decision.';
      byId('sentence-why').focus();
      return;
    }
    byId('sentence-do').disabled = true;
    try {
      await send(this.act, this.user, why);
      byId('sentence').close();
      this.dispatchEvent(new CustomEvent('done', { detail: { act: this.act, user: this.user } }));
    } catch (problem) {
      byId('sentence-problem').textContent = `${problem.title}. ${problem.detail}`;
    }
    byId('sentence-do').disabled = false;
  }
}

function send(act, user, why) {
  if (act === 'ban') return ask('v1/bans', { method: 'POST', body: { user, why } });
  const asked = new URLSearchParams({ why });
  return ask(`v1/bans/${encodeURIComponent(user)}?${asked}`, { method: 'DELETE' });
}
