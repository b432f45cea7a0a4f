/**
 * Who labels: whoever a link from the chat with the bot says, or nobody in particular.
 *
 * The link brings a token (`#token=…`), which no request carries as part of an address. It is taken
 * out of the address at once and kept until the tab is closed.
 */

const KEPT_UNDER = 'sightloop-signed';
const TELEGRAM = 'telegram-';
const LONGEST = 4096;

/** Fires `change` when somebody is signed in or no longer. */
export const signing = new EventTarget();

let token = '';
let expired = false;

/**
 * Take the token that the address brings, or that was brought before. One that has run out by this
 * machine's clock is forgotten.
 */
export function signIn() {
  const given = new URLSearchParams(window.location.hash.slice(1)).get('token');
  if (given !== null) {
    window.history.replaceState(null, '', window.location.pathname + window.location.search);
  }
  token = usable(given) || usable(kept());
  const { exp } = claims();
  expired = Boolean(exp) && exp * 1000 < Date.now();
  if (expired) token = '';
  keep();
  signing.dispatchEvent(new Event('change'));
}

/** Send nothing by that name any more. */
export function signOut() {
  token = '';
  expired = false;
  keep();
  signing.dispatchEvent(new Event('change'));
}

/** @returns {boolean} whether what is sent is sent by somebody's name */
export function isSigned() {
  return Boolean(token);
}

/** @returns {Object<string, string>} headers that say who sends something */
export function signature() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** @returns {string} who labels, in words; empty: nobody in particular */
export function whoLabels() {
  if (expired) {
    return 'Your link from the chat has run out: each is good for a day. What you send now counts as a '
      + 'visitor’s. For a new link, reply to the photo in the chat with “predict”.';
  }
  if (!token) return '';
  const sub = String(claims().sub ?? '');
  const who = sub.startsWith(TELEGRAM) ? `Telegram user ${sub.slice(TELEGRAM.length)}` : sub;
  return `What you send counts as ${who ? `that of ${who}` : 'yours'}, by your link from the chat.`;
}

function usable(text) {
  return /^[\x21-\x7e]+$/.test(text ?? '') && text.length <= LONGEST ? text : '';
}

/** What the token says of itself, for the reader only: the service believes its signature alone. */
function claims() {
  try {
    const body = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const written = Uint8Array.from(atob(body), (byte) => byte.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(written)) ?? {};
  } catch {
    return {};
  }
}

function kept() {
  try {
    return window.sessionStorage.getItem(KEPT_UNDER);
  } catch {
    return '';
  }
}

function keep() {
  try {
    if (token) window.sessionStorage.setItem(KEPT_UNDER, token);
    else window.sessionStorage.removeItem(KEPT_UNDER);
  } catch {
    // where nothing may be kept, it is good until the page is left
  }
}
