/** The list of models, with what the next training of each waits for. */

import { json } from './api.js';
import { make } from './build.js';
import { refill } from './refill.js';
import { planBadge } from './versions.js';
import { counted } from './words.js';

const byId = (id) => document.getElementById(id);

/** The models that are listed, whether the planner has looked at them or not. */
export class PlanList {
  /** @param {(name: string) => void} open a model */
  constructor(open) {
    this.open = open;
    /** @type {Map<string, ?object>} what was decided, by the model's name */
    this.plans = new Map();
    /** @type {Set<string>} those that serve, and so have versions */
    this.live = new Set();
    this.current = '';
    this.known = false;
  }

  /**
   * Ask which models there are; those that serve are known without a database too.
   * @throws {import('./api.js').Problem}
   */
  async start() {
    const none = { models: [] };
    const [live, pending] = await Promise.all([json('v1/models'), json('v1/pending-models').catch(() => none)]);
    for (const { name } of [...live.models, ...pending.models]) {
      if (!this.plans.has(name)) this.plans.set(name, null);
    }
    this.live = new Set(live.models.map(({ name }) => name));
    this.known = true;
    this.draw();
  }

  /**
   * Ask what was decided last for each.
   * @returns {Promise<boolean>} whether anything changed
   * @throws {import('./api.js').Problem}
   */
  async load() {
    const told = await json('v1/training-plans');
    for (const plan of told.plans) this.plans.set(plan.model, plan);
    byId('rhythm').textContent = `Every ${counted(told.every_minutes, 'minute')} each is looked at.`;
    byId('idle').hidden = told.launcher !== '';
    byId('idle').textContent = 'No training is set up here, so nothing is launched. What would be trained, and '
      + 'why, is told all the same. Operators set SIGHTLOOP_LAUNCHER.';
    return this.draw();
  }

  /**
   * Mark the one that is open.
   * @param {string} name
   */
  mark(name) {
    this.current = name;
    this.draw();
  }

  /** @returns {string[]} by name */
  get names() {
    return [...this.plans.keys()].sort((one, other) => one.localeCompare(other));
  }

  draw() {
    byId('plans-none').hidden = !this.known || this.plans.size > 0;
    byId('plans-none').textContent = 'There is no model yet.';
    return refill(byId('plan-list'), this.names.map((name) => ({
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
