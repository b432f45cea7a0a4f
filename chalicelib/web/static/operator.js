/** The operator's token, kept until the tab is closed, and calls that carry it. */

import { json, Problem } from './api.js';

const KEPT_UNDER = 'sightloop-operator';

/** Take the token that the address brings (`#token=…`), and take it out of the address. */
export function takeFromAddress() {
  const given = new URLSearchParams(window.location.hash.slice(1)).get('token');
  if (!given) return;
  remember(given);
  window.history.replaceState(null, '', window.location.pathname + window.location.search);
}

/** @returns {string} empty where there is none */
export function token() {
  return window.sessionStorage.getItem(KEPT_UNDER) ?? '';
}

/**
 * Keep a token for this tab; an empty one is forgotten.
 * @param {string} given
 */
export function remember(given) {
  if (given) window.sessionStorage.setItem(KEPT_UNDER, given.trim());
  else window.sessionStorage.removeItem(KEPT_UNDER);
}

/**
 * Ask for JSON as an operator.
 * @param {string} path relative to the page
 * @param {{method?: string, body?: object}} [asked] a body is sent as JSON
 * @returns {Promise<any>}
 * @throws {Problem} of status 401 or 403 where the token is not good
 */
export function ask(path, { method = 'GET', body } = {}) {
  if (!/^[\x21-\x7e]+$/.test(token())) {
    const detail = 'That cannot be a token: it has characters in it that none has.';
    return Promise.reject(new Problem({ title: 'No token', detail, status: 401 }));
  }
  const headers = { Authorization: `Bearer ${token()}` };
  if (body) headers['Content-Type'] = 'application/json';
  return json(path, { method, headers, body: body && JSON.stringify(body) });
}
