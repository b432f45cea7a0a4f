/** The page for operators: a token, what waits, the people, and what is decided. */

import { showCase } from './case.js';
import { ask, remember, takeFromAddress, token } from './operator.js';
import { People } from './people.js';
import { Queue } from './queue.js';
import { Sentence } from './sentence.js';
import { counted } from './words.js';

const byId = (id) => document.getElementById(id);
const queue = new Queue();
const people = new People();
const sentence = new Sentence();

/** @type {?{decision: string, items: object[]}} what was decided last, to go the other way */
let last = null;
let view = 'queue';

/** Do what may fail, and say why where it does; without a good token, ask for one. */
async function run(act) {
  try {
    await act();
  } catch (problem) {
    failed(problem);
  }
}

function failed(problem) {
  if (problem.status === 401 || problem.status === 403) shut(`${problem.title}. ${problem.detail}`);
  else if (problem.title) tell(`${problem.title}. ${problem.detail}`);
  else throw problem;
}

function shut(why) {
  remember('');
  byId('work').hidden = true;
  byId('decide').hidden = true;
  byId('leave').hidden = true;
  byId('gate').hidden = false;
  byId('refused').textContent = why;
  byId('token').focus();
}

async function open() {
  if (!token()) {
    shut('');
    return;
  }
  await run(async () => {
    await queue.load();
    byId('gate').hidden = true;
    byId('token').value = '';
    byId('work').hidden = false;
    byId('leave').hidden = false;
    turnTo(view);
  });
}

/** Show one of the two views: what waits, or the people. */
function turnTo(wanted) {
  view = wanted;
  for (const name of ['queue', 'people']) {
    const chosen = name === wanted;
    byId(name).hidden = !chosen;
    byId(`tab-${name}`).setAttribute('aria-selected', String(chosen));
    byId(`tab-${name}`).tabIndex = chosen ? 0 : -1;
  }
  if (wanted === 'people' && !people.found.length) run(() => people.load());
  refresh();
}

/** Bring the sheet up to what is chosen in the view. */
function refresh() {
  const asCase = view === 'queue' && queue.current;
  const asPerson = view === 'people' && people.current;
  byId('case').hidden = !asCase;
  byId('portrait').hidden = !asPerson;
  byId('pick-one').hidden = Boolean(asCase || asPerson);
  byId('decide').hidden = !asCase;
  byId('bulk').hidden = view !== 'queue' || !queue.selected.size;
  document.body.classList.toggle('deciding', Boolean(asCase));
}

/** Say what was done, for all to see and to hear. */
function tell(text, reversed = '') {
  byId('told').hidden = !text;
  byId('told-text').textContent = text;
  byId('reverse').hidden = !reversed;
  byId('reverse').textContent = reversed;
  byId('live').textContent = text;
}

function openPerson(user) {
  run(async () => {
    await people.open(user);
    turnTo('people');
  });
}

function decide(decision, items) {
  run(async () => {
    await queue.decide(decision, items, byId('why').value);
    byId('why').value = '';
  });
}

const chosen = () => queue.items.filter((item) => queue.selected.has(item.submission_id));
const inView = () => (queue.current ? [queue.current] : []);

/** Decide the other way about what was decided last. */
function reverse() {
  if (!last) return;
  const { decision, items } = last;
  last = null;
  run(() => queue.decide(decision === 'accept' ? 'reject' : 'accept', items, 'decided the other way'));
}

queue.addEventListener('open', () => {
  if (queue.current) showCase(byId('case'), queue.current, openPerson);
  byId('sheet').scrollTop = 0;
  refresh();
});
queue.addEventListener('decided', ({ detail: { decision, word, done, refused } }) => {
  const [one] = done;
  const what = done.length === 1 ? `Submission ${one.submission_id}` : counted(done.length, 'submission');
  const parts = done.length ? [`${what} ${word}.`] : [];
  parts.push(...refused.map((each) => `${each.submission_id}: ${each.problem.detail}.`));
  last = done.length ? { decision, items: done } : null;
  const other = decision === 'accept' ? 'Reject' : 'Accept';
  tell(parts.join(' '), last && `${other} ${done.length === 1 ? 'it' : 'them'} instead`);
  if (refused.length) run(() => queue.load());
});
people.addEventListener('open', () => {
  people.show(byId('portrait'), (act, user) => sentence.open(act, user));
  byId('sheet').scrollTop = 0;
  refresh();
});
people.addEventListener('failed', ({ detail }) => failed(detail));
sentence.addEventListener('done', ({ detail: { act, user } }) => {
  tell(`${user}: ${act === 'ban' ? 'banned' : 'ban lifted'}.`);
  run(async () => {
    await queue.load();
    if (view === 'people') await people.open(user);
  });
});

const KEYS = {
  a: () => decide('accept', inView()),
  r: () => decide('reject', inView()),
  b: () => queue.current && sentence.open('ban', queue.current.user),
  j: () => queue.step(1),
  k: () => queue.step(-1),
  x: () => queue.toggle(),
  u: reverse,
};

document.addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input:not([type=checkbox]), textarea, select, dialog');
  if (typing || view !== 'queue' || byId('work').hidden) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

byId('gate').addEventListener('submit', (event) => {
  event.preventDefault();
  remember(byId('token').value);
  open();
});
byId('leave').addEventListener('click', () => shut(''));
byId('refresh').addEventListener('click', () => run(() => queue.load()));
byId('decide').addEventListener('submit', (event) => {
  event.preventDefault();
  decide('accept', inView());
});
byId('reject').addEventListener('click', () => decide('reject', inView()));
byId('ban').addEventListener('click', () => sentence.open('ban', queue.current.user));
byId('bulk-accept').addEventListener('click', () => decide('accept', chosen()));
byId('bulk-reject').addEventListener('click', () => decide('reject', chosen()));
byId('reverse').addEventListener('click', reverse);
byId('told-close').addEventListener('click', () => tell(''));
for (const name of ['queue', 'people']) {
  byId(`tab-${name}`).addEventListener('click', () => turnTo(name));
  byId(`tab-${name}`).addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowRight' && event.key !== 'ArrowLeft') return;
    turnTo(name === 'queue' ? 'people' : 'queue');
    byId(`tab-${view}`).focus();
  });
}
window.addEventListener('hashchange', () => {
  takeFromAddress();
  open();
});

takeFromAddress();
open();
