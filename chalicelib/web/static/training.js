/** The page of trainings: jobs as they go, what each model waits for, and which version serves. */

import { json } from './api.js';
import { hasEnded, showJob, titleOf } from './job.js';
import { JobList } from './joblist.js';
import { ask } from './operator.js';
import { Pass } from './pass.js';
import { PlanList } from './planlist.js';
import { Poll } from './polling.js';
import { Sure } from './sure.js';
import { showModel } from './versions.js';
import { sentence } from './words.js';

const BUSY = { least: 2_000, most: 15_000 };
const QUIET = { least: 10_000, most: 60_000 };
const REFUSED = [401, 403];
const CONFLICT = 409;
const byId = (id) => document.getElementById(id);

const jobs = new JobList((id) => choose({ job: id }));
const plans = new PlanList((name) => choose({ model: name }));
const sure = new Sure();
const pass = new Pass();
const poll = new Poll(look, () => (jobs.busy || isRunning() ? BUSY : QUIET), failed);

/** What is open: a job or a model, or neither. */
const open = { job: '', model: '' };
/** @type {?object} the open job, as it was told last */
let job = null;
/** @type {?object} the versions of the open model */
let history = null;
let unknown = '';
let looked = false;

const isRunning = () => Boolean(job && open.job && !hasEnded(job));
const pathOf = (name) => `v1/models/${encodeURIComponent(name)}`;

/** Say in words what did not work; what is shown stays. */
function failed(problem) {
  if (!problem.title) throw problem;
  byId('problem').textContent = `${problem.title}. ${sentence(problem.detail)}`;
  byId('problem').hidden = false;
}

function tell(text) {
  byId('told').hidden = !text;
  byId('told-text').textContent = text;
  byId('live').textContent = text;
}

/** Bring everything that is seen up to date; what works is shown though something else fails. */
async function look() {
  const asked = [jobs.load(byId('of-model').value), plans.load(), lookAtOpen()];
  const done = await Promise.allSettled(asked);
  looked = true;
  showFirst();
  const refused = done.find(({ status }) => status === 'rejected');
  if (refused) throw refused.reason;
  byId('problem').hidden = true;
  return done.some(({ value }) => value);
}

function lookAtOpen() {
  if (open.job) return lookAtJob(open.job);
  return open.model ? lookAtModel(open.model) : false;
}

async function lookAtJob(id) {
  const known = job?.job_id === id ? job : null;
  if (known && hasEnded(known)) return false;
  const told = await json(`v1/training-jobs/${encodeURIComponent(id)}`);
  if (open.job !== id) return false;
  if (known && hasEnded(told)) tell(`${titleOf(told)}: ${told.state}.`);
  job = told;
  return draw();
}

async function lookAtModel(name) {
  const told = await versionsOf(name);
  if (open.model !== name) return false;
  history = told;
  return draw();
}

/** A model that waits for its first version may have some already, which the gate rejected. */
async function versionsOf(name) {
  unknown = 'They cannot be told now.';
  const told = await json(`${pathOf(name)}/versions`);
  unknown = 'None yet: it waits for its first training.';
  return told;
}

/** Where nothing was chosen, the newest job is what one came for. */
function showFirst() {
  if (!looked || open.job || open.model) return;
  if (jobs.jobs.length) choose({ job: jobs.jobs[0].job_id }, false);
  else if (plans.names.length) choose({ model: plans.names[0] }, false);
}

function choose(wanted, keep = true) {
  Object.assign(open, { job: '', model: '' }, wanted);
  history = null;
  unknown = 'Loading …';
  turnTo(open.model ? 'plans' : 'jobs');
  jobs.mark(open.job);
  plans.mark(open.model);
  if (keep) remember();
  byId('sheet').scrollTop = 0;
  draw();
  poll.now();
}

/** Name in the address what is open, so that it can be linked to and gone back to. */
function remember() {
  const address = new URL(window.location.href);
  address.search = new URLSearchParams(open.job ? { job: open.job } : { model: open.model });
  if (address.href !== window.location.href) window.history.pushState(null, '', address);
}

function fromAddress() {
  const asked = new URLSearchParams(window.location.search);
  Object.assign(open, { job: asked.get('job') ?? '', model: asked.get('job') ? '' : asked.get('model') ?? '' });
}

function draw() {
  const shown = open.job && job?.job_id === open.job;
  byId('job').hidden = !shown;
  byId('model').hidden = !history && !plans.plans.has(open.model);
  byId('pick-one').hidden = Boolean(open.job || open.model) || !jobs.known;
  if (shown) return showJob(byId('job'), job, { may: pass.given, cancel, open: (name) => choose({ model: name }) });
  if (byId('model').hidden) return false;
  return showModel(byId('model'), {
    name: open.model,
    plan: plans.plans.get(open.model) ?? null,
    running: jobs.jobs.find((each) => each.model === open.model && !hasEnded(each)) ?? null,
    history,
    unknown,
  }, { may: pass.given, retrain, promote, rollBack, openJob: (id) => choose({ job: id }) });
}

function turnTo(view) {
  for (const name of ['jobs', 'plans']) {
    const chosen = name === view;
    byId(name).hidden = !chosen;
    byId(`tab-${name}`).setAttribute('aria-selected', String(chosen));
    byId(`tab-${name}`).tabIndex = chosen ? 0 : -1;
  }
}

/** Send what an operator decided; a token that is refused is asked for anew. */
async function act(path, body, done) {
  let answer;
  try {
    answer = await ask(path, { method: 'POST', body });
  } catch (problem) {
    if (problem.status === CONFLICT) poll.now(); // it is not as this page has it
    if (!REFUSED.includes(problem.status)) throw problem;
    byId('sure').close();
    pass.refuse(problem);
    return;
  }
  tell(done(answer));
  if (open.job === job?.job_id && answer.job_id === open.job) job = null;
  poll.now();
}

function cancel(which) {
  sure.ask({
    title: `Cancel the ${titleOf(which).toLowerCase()}?`,
    effect: 'What it learnt so far is thrown away. The version that serves goes on serving.',
    verb: 'Cancel it',
    act: () => act(`v1/training-jobs/${which.job_id}/cancel`, undefined, () => `${titleOf(which)}: it is being cancelled.`),
  });
}

function retrain(name, live) {
  sure.ask({
    title: `Train ${name} now?`,
    effect: live == null
      ? 'A first version is trained on the whole dataset, without waiting for the schedule.'
      : `A new version is trained from version ${live} on the whole dataset, without waiting for the schedule. It serves only if it is better.`,
    verb: 'Train it',
    act: () => act(`${pathOf(name)}/training-jobs`, undefined, (made) => {
      choose({ job: made.job_id });
      return `${titleOf(made)}: it waits to be launched.`;
    }),
  });
}

/** What whoever decides has seen to serve: where another does by now, they are told. */
const seen = (live) => (live == null ? {} : { over: live });

function promote(name, version, live) {
  sure.ask({
    title: `Have version ${version} of ${name} serve?`,
    effect: `It takes the place of ${live == null ? 'none' : `version ${live}`} within 30 seconds, whatever the gate said of it.`,
    verb: `Promote version ${version}`,
    why: true,
    act: (why) => act(`${pathOf(name)}/versions/${version}/promote`, { why, ...seen(live) }, () => `Version ${version} of ${name} serves now.`),
  });
}

function rollBack(name, live) {
  sure.ask({
    title: `Roll ${name} back?`,
    effect: `The version that served before version ${live} serves again within 30 seconds.`,
    verb: 'Roll back',
    why: true,
    act: (why) => act(`${pathOf(name)}/rollback`, { why, ...seen(live) }, (told) => `Version ${told.live_version} of ${name} serves again.`),
  });
}

async function listModels() {
  await plans.start();
  const wanted = byId('of-model').value;
  byId('of-model').replaceChildren(new Option('all models', ''), ...plans.names.map((name) => new Option(name, name)));
  byId('of-model').value = wanted;
  showFirst();
}

function listen() {
  pass.addEventListener('change', draw);
  byId('of-model').addEventListener('change', () => poll.now());
  byId('jobs-more').addEventListener('click', () => jobs.more().catch(failed));
  byId('plans-more').addEventListener('click', () => plans.more().catch(failed));
  byId('told-close').addEventListener('click', () => tell(''));
  for (const [name, other] of [['jobs', 'plans'], ['plans', 'jobs']]) {
    byId(`tab-${name}`).addEventListener('click', () => turnTo(name));
    byId(`tab-${name}`).addEventListener('keydown', (event) => {
      if (event.key !== 'ArrowRight' && event.key !== 'ArrowLeft') return;
      turnTo(other);
      byId(`tab-${other}`).focus();
    });
  }
  window.addEventListener('popstate', () => {
    fromAddress();
    choose({ ...open }, false);
  });
}

listen();
fromAddress();
choose({ ...open }, false);
listModels().catch(failed);
