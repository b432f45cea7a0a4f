/** The people who send corrections: a list in several orders, and one of them in full. */

import { make, when } from './build.js';
import { badges, figures } from './case.js';
import { ask } from './operator.js';
import { counted, percent } from './words.js';

const PAGE = 50;
const byId = (id) => document.getElementById(id);
const DECIDED = { ban: 'banned', lift: 'ban lifted', accept: 'accepted', reject: 'rejected' };

/** Fires `open` when somebody is to be shown. */
export class People extends EventTarget {
  constructor() {
    super();
    this.found = [];
    this.next = null;
    /** @type {?object} */
    this.current = null;
    byId('order').addEventListener('change', () => this.run(() => this.load()));
    byId('persons-more').addEventListener('click', () => this.run(() => this.more()));
    byId('find').addEventListener('submit', (event) => {
      event.preventDefault();
      const name = byId('name').value.trim();
      if (name) this.run(() => this.open(name));
    });
  }

  /** Do what may fail; whoever listens to `failed` is told why. */
  run(act) {
    act().catch((problem) => this.dispatchEvent(new CustomEvent('failed', { detail: problem })));
  }

  /** Load the first page in the order that is chosen. */
  async load() {
    const order = byId('order').value;
    const page = await ask(`v1/contributors?order=${order}&limit=${PAGE}`);
    if (order !== byId('order').value) return;
    this.found = page.contributors;
    this.next = page.next;
    this.draw();
  }

  /** Load the next page. */
  async more() {
    const after = encodeURIComponent(this.next);
    const page = await ask(`v1/contributors?order=${byId('order').value}&limit=${PAGE}&after=${after}`);
    this.found.push(...page.contributors);
    this.next = page.next;
    this.draw();
  }

  /**
   * Load all that is known of somebody, and show it.
   * @param {string} user
   */
  async open(user) {
    this.current = await ask(`v1/contributors/${encodeURIComponent(user)}`);
    this.found = this.found.map((each) => (each.user === user ? this.current : each));
    this.draw();
    this.dispatchEvent(new Event('open'));
  }

  draw() {
    byId('persons').replaceChildren(...this.found.map((who) => this.entry(who)));
    byId('persons-none').hidden = this.found.length > 0;
    byId('persons-none').textContent = 'Nobody yet.';
    byId('persons-more').hidden = this.next == null;
  }

  entry(who) {
    const { trust } = who;
    const accuracy = trust.accuracy == null ? 'no control tasks' : `${percent(trust.accuracy)} right`;
    return make('li', null, make('button.entry', {
      type: 'button',
      'aria-current': who.user === this.current?.user && 'true',
      onclick: () => this.run(() => this.open(who.user)),
    },
    make('span.entry-title', null, who.user, ...badges(who)),
    make('span.entry-score', null, who.mean_score.toFixed(2)),
    make('span.entry-note', null,
      `${who.submissions} sent, ${who.suspicious} suspicious, ${accuracy}`)));
  }

  /**
   * Show the one that is open.
   * @param {HTMLElement} sheet
   * @param {(act: 'ban'|'lift', user: string) => void} sentence
   */
  show(sheet, sentence) {
    const who = this.current;
    const act = who.banned_since ? 'lift' : 'ban';
    const more = make('button.plain.more', { type: 'button', hidden: who.next == null }, 'Show more');
    const sent = make('tbody', null, ...who.sent.map(row));
    more.addEventListener('click', () => this.run(() => this.moreSent(sent, more)));
    sheet.replaceChildren(make('div', null,
      make('header.case-head', null,
        make('h2', null, who.user, ...badges(who)),
        make('p.soft', null, 'first seen ', when(who.first_seen_at), ', last ', when(who.last_seen_at)),
        make('p.actions', null, make(`button.${act === 'ban' ? 'plain' : 'key'}`, {
          type: 'button', onclick: () => sentence(act, who.user),
        }, act === 'ban' ? 'Ban …' : 'Lift the ban …'))),
      who.banned_since && make('p.distrust', null, 'Banned since ', when(who.banned_since),
        ` by ${who.banned_by}: ${who.banned_why}`),
      who.trust.distrust && make('p.distrust', null, who.trust.distrust),
      make('div.columns', null,
        make('div', null, figures(who), trainedOn(who)),
        make('div', null, decisions(who))),
      make('section', null, make('h3', null, 'What they sent'),
        make('div.table', { tabindex: 0, role: 'group', 'aria-label': 'What they sent' }, make('table', null,
          make('thead', null, make('tr', null, ...['Submission', 'When', 'Model', 'Boxes', 'Score', 'State']
            .map((title) => make('th', { scope: 'col' }, title)))), sent)), more)));
  }

  async moreSent(rows, button) {
    const { user, next } = this.current;
    const page = await ask(`v1/contributors/${encodeURIComponent(user)}?before=${next}`);
    this.current.next = page.next;
    rows.append(...page.sent.map(row));
    button.hidden = page.next == null;
  }
}

function row(sent) {
  return make('tr', null,
    make('th', { scope: 'row' }, sent.submission_id),
    make('td', null, when(sent.updated_at)),
    make('td', null, `${sent.model} ${sent.version}`),
    make('td', null, `${sent.predicted_boxes} → ${sent.submitted_boxes}`),
    make('td', null, sent.score.toFixed(2), sent.suspicious && ' !'),
    make('td', null, stateOf(sent)));
}

function stateOf(sent) {
  if (sent.control) return 'control task';
  return sent.reviewed_by ? `${sent.state} by ${sent.reviewed_by}` : sent.state;
}

function trainedOn(who) {
  return make('section', null, make('h3', null, 'Versions trained on their labels'),
    who.versions.length
      ? make('ul.versions', null, ...who.versions.map((each) => make('li', null,
        make('a', { href: `training?model=${encodeURIComponent(each.model)}` }, `${each.model} ${each.version}`),
        ` ${counted(each.training_labels, 'label')} to train, ${each.validation_labels} to validate`)))
      : make('p.soft', null, 'None.'));
}

function decisions(who) {
  return make('section', null, make('h3', null, 'Decisions'),
    who.decisions.length
      ? make('ol.decisions', null, ...who.decisions.map((each) => make('li', null,
        make('strong', null, DECIDED[each.decision]),
        each.submission_id ? ` ${each.submission_id}` : '', ` by ${each.decided_by}, `,
        when(each.decided_at), each.why && make('q', null, each.why))))
      : make('p.soft', null, 'None.'));
}
