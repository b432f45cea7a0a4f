/** The list of models, with what the next training of each waits for. */

import { json, listModels } from './api.js';
import { make } from './build.js';
import { refill } from './refill.js';
import { planBadge } from './versions.js';
import { counted } from './words.js';

const PAGE = 100;
const byId = (id) => document.getElementById(id);

/** The models that are listed, whether the planner has looked at them or not. */
export class PlanList {
  /** @param {(name: string) => void} open a model */
  constructor(open) {
    this.open = open;
    /** @type {Map<string, ?object>} what was decided, by the model's name */
    this.plans = new Map();
    this.current = '';
    this.known = false;
    /** how many are listed at most, and whether there are plans beyond */
    this.most = PAGE;
    this.further = false;
  }

  /**
   * Ask which models there are; those that serve are known without a database too.
   * @throws {import('./api.js').Problem}
   */
  async start() {
    const none = { models: [] };
    const [live, pending] = await Promise.all([listModels(), json('v1/pending-models').catch(() => none)]);
    for (const { name } of [...live, ...pending.models]) {
      if (!this.plans.has(name)) this.plans.set(name, null);
    }
    this.known = true;
    this.draw();
  }

  /**
   * Ask what was decided last for those that are listed, and for the one that is open.
   * @returns {Promise<boolean>} whether anything changed
   * @throws {import('./api.js').Problem}
   */
  async load() {
    let [told, count, opened] = [null, 0, false];
    do {
      told = await this.take({ limit: PAGE, ...(told && { after: told.next }) });
      count += told.plans.length;
      opened ||= told.plans.some(({ model }) => model === this.current);
    } while (told.next != null && count < this.most);
    this.further = told.next != null;
    if (this.current && !opened && this.further) await this.take({ model: this.current });
    byId('rhythm').textContent = `Every ${counted(told.every_minutes, 'minute')} each is looked at.`;
    byId('idle').hidden = told.launcher !== '';
    byId('idle').textContent = 'No training is set up here, so nothing is launched. What would be trained, and '
      + 'why, is told all the same. Operators set SIGHTLOOP_LAUNCHER.';
    return this.draw();
  }

  async take(asked) {
    const told = await json(`v1/training-plans?${new URLSearchParams(asked)}`);
    for (const plan of told.plans) this.plans.set(plan.model, plan);
    return told;
  }

  /** List more of them. */
  async more() {
    this.most += PAGE;
    await this.load();
  }

  /**
   * Mark the one that is open.
   * @param {string} name
   */
  mark(name) {
    this.current = name;
    this.draw();
  }

  /** @returns {string[]} by name, in the order of the API's pages */
  get names() {
    return [...this.plans.keys()].sort();
  }

  draw() {
    byId('plans-none').hidden = !this.known || this.plans.size > 0;
    byId('plans-none').textContent = 'There is no model yet.';
    byId('plans-more').hidden = !this.further && this.plans.size <= this.most;
    return refill(byId('plan-list'), this.names.slice(0, this.most).map((name) => ({
      key: name,
      facts: [this.plans.get(name), name === this.current],
      draw: () => this.entry(name, this.plans.get(name)),
    })));
  }

  entry(name, plan) {
    return make('li', null, make('button.entry', {
      type: 'button',
      'aria-current': name === this.current && 'true',
      onclick: () => this.open(name),
    },
    make('span.entry-title', null, name),
    planBadge(plan),
    make('span.entry-note', null, plan?.reason ?? '')));
  }
}
