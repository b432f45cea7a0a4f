/** Retries of calls that the service refused because it is busy, with a notice while they wait. */

import { make } from './build.js';
import { counted } from './words.js';

/** 409: an earlier try of this call is being answered, or was cut off; other conflicts name no wait. */
const BUSY = [409, 429, 503];
const MOST_RETRIES = 4;
/** A quota of the day names hours: that is for the person to read, not for the page to wait. */
const LONGEST_WAIT_S = 60;
const KEY_BYTES = 16;
const TICK_MS = 500;

/** @type {Set<number>} when the calls that wait are sent again, by `performance.now()` */
const waits = new Set();
let ticking = 0;

/**
 * Fetch, and fetch again where the service is busy, with this call or with others, and names a wait of up to a minute in
 * `Retry-After`. Every try of a POST carries the same `Idempotency-Key`.
 * @param {string} path relative to the page
 * @param {RequestInit} [init] its signal ends the wait
 * @returns {Promise<Response>} the last answer, which may be a refusal
 */
export async function fetchWithRetries(path, init = {}) {
  const isPost = init.method === 'POST';
  const headers = isPost ? { 'Idempotency-Key': randomKey(), ...init.headers } : init.headers;
  for (let retries = 0; ; retries += 1) {
    const response = await fetch(path, { ...init, headers });
    const seconds = secondsToWait(response);
    if (seconds === null || retries === MOST_RETRIES) return response;
    await waitVisibly(seconds, init.signal);
  }
}

/** `crypto.randomUUID` is missing where a page is served without TLS to another machine. */
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(KEY_BYTES));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function secondsToWait(response) {
  const header = response.headers.get('Retry-After') ?? '';
  if (!BUSY.includes(response.status) || !/^\d+$/.test(header)) return null;
  const seconds = Math.max(Number(header), 1);
  return seconds <= LONGEST_WAIT_S ? seconds : null;
}

async function waitVisibly(seconds, signal) {
  const due = performance.now() + seconds * 1000;
  waits.add(due);
  showNotice();
  try {
    await sleep(seconds * 1000, signal);
  } finally {
    waits.delete(due);
    showNotice();
  }
}

/** Readers of screens hear once that the page waits; the seconds are only shown. */
function showNotice() {
  const notice = document.getElementById('busy') ?? addNotice();
  clearTimeout(ticking);
  notice.classList.toggle('waits', waits.size > 0);
  if (!waits.size) {
    notice.replaceChildren();
    return;
  }
  const seconds = Math.max(Math.ceil((Math.min(...waits) - performance.now()) / 1000), 1);
  if (!notice.childElementCount) {
    notice.append(make('span', null, 'The service is busy. This page tries again by itself'),
      make('span', { 'aria-hidden': 'true' }));
  }
  notice.lastElementChild.textContent = ` in ${counted(seconds, 'second')}.`;
  ticking = setTimeout(showNotice, TICK_MS);
}

function addNotice() {
  const notice = make('p.busy', { id: 'busy', role: 'status' });
  document.body.append(notice);
  return notice;
}

/**
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>} rejected where it is stopped
 */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException('stopped', 'AbortError'));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}
