/** The list of training jobs, newest first. */

import { json } from './api.js';
import { make, when } from './build.js';
import { hasEnded, howFar, stateBadge, titleOf } from './job.js';
import { refill } from './refill.js';

const PAGE = 20;
const byId = (id) => document.getElementById(id);

/** The jobs that are listed. */
export class JobList {
  /** @param {(id: string) => void} open a job */
  constructor(open) {
    this.open = open;
    this.jobs = [];
    this.next = null;
    this.current = '';
    this.known = false;
  }

  /** @returns {boolean} whether one of them may still change */
  get busy() {
    return this.jobs.some((job) => !hasEnded(job));
  }

  /**
   * Ask for the newest, and keep those behind them that were listed before.
   * @param {string} model empty: of all
   * @returns {Promise<boolean>} whether anything changed
   * @throws {import('./api.js').Problem}
   */
  async load(model) {
    const page = await json(`v1/training-jobs?${new URLSearchParams({ ...(model && { model }), limit: PAGE })}`);
    if (model !== this.model) Object.assign(this, { jobs: [], next: null, model });
    const fresh = new Set(page.jobs.map(({ job_id: id }) => id));
    const older = this.jobs.filter(({ job_id: id }) => !fresh.has(id));
    const joined = this.jobs.length === 0 || this.jobs.some(({ job_id: id }) => fresh.has(id));
    const behind = joined ? older : [];
    if (!behind.length) this.next = page.next;
    this.jobs = [...page.jobs, ...behind];
    this.known = true;
    return this.draw();
  }

  /** Load the next page. */
  async more() {
    const asked = new URLSearchParams({ ...(this.model && { model: this.model }), limit: PAGE, after: this.next });
    const page = await json(`v1/training-jobs?${asked}`);
    const known = new Set(this.jobs.map(({ job_id: id }) => id));
    this.jobs.push(...page.jobs.filter(({ job_id: id }) => !known.has(id)));
    this.next = page.next;
    this.draw();
  }

  /**
   * Mark the one that is open.
   * @param {string} id
   */
  mark(id) {
    this.current = id;
    this.draw();
  }

  draw() {
    byId('jobs-none').hidden = !this.known || this.jobs.length > 0;
    byId('jobs-none').textContent = 'Nothing was trained yet. What the first training waits for is under Models.';
    byId('jobs-more').hidden = this.next == null;
    return refill(byId('job-list'), this.jobs.map((job) => ({
      key: job.job_id,
      facts: [job.state, job.cancel_requested, howFar(job), job.version, job.job_id === this.current],
      draw: () => this.entry(job),
    })));
  }

  entry(job) {
    const far = hasEnded(job) && job.version != null ? `version ${job.version}` : howFar(job);
    return make('li', null, make('button.entry', {
      type: 'button',
      'aria-current': job.job_id === this.current && 'true',
      onclick: () => this.open(job.job_id),
    },
    make('span.entry-title', null, titleOf(job)),
    stateBadge(job),
    make('span.entry-note', null, when(job.created_at), `, ${far}`)));
  }
}
