/** A problem, told over the photo with what can be done about it. */

import { isSigned, signOut } from './signed.js';
import { sentence } from './words.js';

const ADVICE = {
  401: 'Your answer is kept in this browser. Sign in again, then send it once more.',
  403: 'Your answer is kept in this browser.',
  409: 'Your answer is kept in this browser: load the page anew and look at it again.',
  422: 'The boxes at fault are marked in the list. Mend them and send again.',
};
const LINK_RAN_OUT = 'Your link from the chat is no longer good. Go on as a visitor; or reply to the photo in the chat '
  + 'with “predict”, and open the new link.';
const AGAIN = 'Try again';
const byId = (id) => document.getElementById(id);

/**
 * Put a problem into words for somebody who labels.
 * @param {import('./api.js').Problem} problem
 * @param {'open' | 'send' | 'bring'} doing what failed
 * @returns {string} what to do
 */
export function adviceFor(problem, doing) {
  if (isRefused(problem)) return doing === 'send' ? `${LINK_RAN_OUT} Your answer is kept in this browser.` : LINK_RAN_OUT;
  if (doing === 'bring') return problem.advice;
  if (doing === 'open') {
    return problem.status === 404 ? 'Photos are kept for a time only. Take another one.' : '';
  }
  if (ADVICE[problem.status]) return ADVICE[problem.status];
  if (problem.status === 404) return 'The photo is gone, so nothing can be said of it any more. Take another one.';
  return 'Your answer is kept in this browser, also when you close the page: send it again in a moment.';
}

/**
 * @param {import('./api.js').Problem} problem
 * @returns {boolean} whether the link by which somebody is signed in is no longer good
 */
export function isRefused(problem) {
  return problem.status === 401 && isSigned();
}

/**
 * Show a problem, or take it away; where boxes are open, one can go back to them. A link that is no
 * longer good is let go of before it is tried again.
 * @param {?import('./api.js').Problem} problem
 * @param {string} [advice]
 * @param {?() => void} [again] what to try again; null: nothing can be
 */
export function tellTrouble(problem, advice = '', again = null) {
  byId('problem').hidden = !problem;
  if (!problem) return;
  byId('problem-title').textContent = problem.title;
  byId('problem-detail').textContent = sentence(problem.detail);
  byId('problem-advice').textContent = advice;
  byId('problem-reference').textContent = problem.reference && `Reference ${problem.reference}`;
  byId('retry').hidden = !again;
  byId('retry').textContent = isRefused(problem) ? 'Go on as a visitor' : AGAIN;
  byId('retry').onclick = again && (() => {
    if (isRefused(problem)) signOut();
    again();
  });
  byId('dismiss').hidden = byId('work').hidden;
  byId('dismiss').className = again ? 'plain' : 'key';
}

/**
 * The faults that the service found in boxes, by their place in what was sent.
 * @param {import('./api.js').Problem} problem
 * @returns {Map<number, string>}
 */
export function faultsByBox(problem) {
  const found = new Map();
  for (const { where, what } of problem.faults) {
    const index = where.match(/boxes\D*(\d+)/)?.[1];
    if (index === undefined) continue;
    const before = found.get(Number(index));
    found.set(Number(index), before ? `${before}; ${what}` : what);
  }
  return found;
}
