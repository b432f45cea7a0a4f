/** One training job: how far it is, how it goes, what became of it. */

import { facts, make, when } from './build.js';
import { charts, epochTable, figure } from './charts.js';
import { refill } from './refill.js';
import { verdictOf } from './verdict.js';
import { counted, lapse, percent } from './words.js';

const STEPS = ['queued', 'launched', 'training', 'finishing'];
const ENDED = ['promoted', 'rejected', 'failed', 'cancelled'];
const STATE = {
  queued: 'waits to be launched',
  launched: 'launched, starting',
  training: 'training',
  finishing: 'being judged',
  promoted: 'promoted',
  rejected: 'rejected',
  failed: 'failed',
  cancelled: 'cancelled',
};
const STEP = { queued: 'Queued', launched: 'Launched', training: 'Training', finishing: 'Judging' };
const LOOKS = { promoted: 'good', rejected: 'bad', failed: 'bad' };
const KIND = { first: 'First training', fine_tune: 'Fine-tune' };
const LAUNCHER = { process: 'a process of this machine', sagemaker: 'SageMaker', cluster: 'the cluster' };
const NEAR_END_PX = 24;

/**
 * @param {object} job
 * @returns {boolean} whether nothing more will become of it
 */
export function hasEnded(job) {
  return ENDED.includes(job.state);
}

/**
 * @param {object} job
 * @returns {HTMLElement} its state, in a word
 */
export function stateBadge(job) {
  const asked = job.cancel_requested && !hasEnded(job);
  return make(`span.badge.${LOOKS[job.state] ?? (hasEnded(job) ? 'over' : 'running')}`, null,
    asked ? 'being cancelled' : STATE[job.state]);
}

/**
 * @param {object} job
 * @returns {string} such as `Fine-tune of scratch`
 */
export function titleOf(job) {
  return `${KIND[job.kind]} of ${job.model}`;
}

/**
 * How far it is, in a few words.
 * @param {object} job
 * @returns {string}
 */
export function howFar(job) {
  if (job.state === 'queued' || job.state === 'launched') return `${job.epochs} epochs to do`;
  const far = `epoch ${job.epoch} of ${job.epochs}`;
  if (job.state !== 'training' || job.eta_seconds == null) return far;
  return `${far}, about ${lapse(job.eta_seconds)} to go`;
}

/**
 * Show a job, or bring what is shown of it up to date.
 * @param {HTMLElement} sheet
 * @param {object} job
 * @param {{may: boolean, cancel: (job: object) => void, open: (model: string) => void}} acts
 * @returns {boolean} whether anything changed
 */
export function showJob(sheet, job, acts) {
  const { history: done, log, log_available: logAvailable, epoch, eta_seconds: eta, ...still } = job;
  const parts = [
    ['head', [job.state, job.cancel_requested, job.version, acts.may], () => heading(job, acts)],
    ['progress', [job.state, epoch, eta, job.starts, job.epochs, job.trouble], () => progress(job)],
    ['outcome', [job.outcome, job.verdict, job.state], () => outcome(job)],
    ['charts', [done, job.epochs, hasEnded(job)], () => curves(job)],
    ['facts', still, () => figures(job)],
  ];
  const items = parts.map(([part, told, draw]) => ({ key: `${job.job_id} ${part}`, facts: told, draw }));
  items.push({ key: `${job.job_id} log`, facts: null, draw: logOf });
  const changed = refill(sheet, items);
  const none = logAvailable === false ? 'The log cannot be read at the moment.' : hasEnded(job) ? 'There is none: they are kept for 90 days.' : 'Nothing was written yet.';
  return showLog(sheet.lastElementChild.querySelector('pre'), log || none) || changed;
}

function heading(job, { may, cancel, open }) {
  const can = may && !hasEnded(job) && !job.cancel_requested;
  return make('header.case-head', null,
    make('h2', null, titleOf(job), ' ', stateBadge(job)),
    make('p.soft', null, ...(job.requested_by === 'planner'
      ? ['Planned, ', when(job.created_at), `: ${job.reason}`]
      : [`${job.reason}, `, when(job.created_at)])),
    make('p.actions', null,
      can && make('button.plain', { type: 'button', onclick: () => cancel(job) }, 'Cancel …'),
      make('button.link', { type: 'button', onclick: () => open(job.model) }, `The model ${job.model} and its versions`)));
}

function progress(job) {
  const at = STEPS.indexOf(job.state);
  const steps = STEPS.map((step, index) => make('li', {
    class: hasEnded(job) || index < at ? 'done' : null,
    'aria-current': index === at && 'step',
  }, STEP[step]));
  const last = make('li', { class: hasEnded(job) ? 'done' : null, 'aria-current': hasEnded(job) && 'step' },
    hasEnded(job) ? STATE[job.state].replace(/^./, (letter) => letter.toUpperCase()) : 'Decided');
  const again = job.starts > 1 && ` It was interrupted ${times(job.starts - 1)} and taken up again.`;
  return make('section.far', null,
    make('ol.steps', { 'aria-label': 'Steps' }, ...steps, last),
    make('progress', { max: job.epochs, value: Math.min(job.epoch, job.epochs), 'aria-label': 'Epochs that are done' }),
    make('p', null, capitalised(howFar(job)), '.', again),
    job.trouble && !hasEnded(job) && make('p.distrust', null, `It was held up: ${job.trouble}`));
}

function times(count) {
  return count === 1 ? 'once' : counted(count, 'time');
}

function capitalised(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function outcome(job) {
  if (!job.outcome) return make('div.outcome', { hidden: true });
  const version = job.version == null ? '' : ` Version ${job.version}.`;
  return make('section.outcome', null, make('h3', null, 'What became of it'),
    make(`p.proposal.${LOOKS[job.state] ?? 'over'}`, null, make('strong', null, `${capitalised(STATE[job.state])}.${version} `), job.outcome),
    job.verdict && verdictOf(job.verdict));
}

function curves(job) {
  if (!job.history.length) {
    return make('section', null, make('h3', null, 'How it goes'),
      make('p.soft', null, hasEnded(job) ? 'No epoch was finished.' : 'Curves are drawn here once the first epoch is done.'));
  }
  return make('section', null, make('h3', null, hasEnded(job) ? 'How it went' : 'How it goes'),
    charts(job.history, job.epochs), epochTable(job.history));
}

function figures(job) {
  const settings = Object.entries(job.hyperparameters).sort(([one], [other]) => one.localeCompare(other));
  return make('div.columns', null,
    make('div', null, make('section', null, make('h3', null, 'Hyperparameters'), facts(settings))),
    make('div', null, make('section', null, make('h3', null, 'The job'), facts([
      ['Starts from', job.base_version == null ? 'the pretrained network' : `version ${job.base_version}`],
      ['Learns from', job.dataset_sha256
        ? make('a', { href: `dataset?model=${encodeURIComponent(job.model)}`, title: job.dataset_sha256 }, `dataset ${job.dataset_sha256.slice(0, 12)}…`)
        : 'a dataset that is written down at the launch'],
      ['Runs in', LAUNCHER[job.launcher] ?? job.launcher],
      ['Launched', job.launched_at && when(job.launched_at)],
      ['Ended', job.ended_at && when(job.ended_at)],
      ['mAP50-95 of the last epoch', job['mAP50-95'] == null ? null : figure(job['mAP50-95'])],
      ['mAP50 of the last epoch', job.mAP50 == null ? null : percent(job.mAP50)],
      ['Its number', job.job_id],
    ]))));
}

function logOf() {
  return make('section.log', null, make('h3', null, 'Its log, the end of it'),
    make('pre', { tabindex: 0, role: 'group', 'aria-label': 'Log' }));
}

/** Show the log; who reads its end goes on reading its end. */
function showLog(pre, text) {
  if (pre.textContent === text) return false;
  const following = pre.scrollHeight - pre.scrollTop - pre.clientHeight < NEAR_END_PX;
  pre.textContent = text;
  if (following) pre.scrollTop = pre.scrollHeight;
  return true;
}
