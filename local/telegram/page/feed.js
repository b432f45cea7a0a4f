/** What happens in a chat, as it happens. */

import { Problem, json } from '../static/api.js';
import { sleep } from '../static/busy.js';

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 4000;

/**
 * Follows one chat. Fires `begin` (detail: whether the stand-in was started anew) before all that
 * there is comes, `news` (messages that came or changed, toasts, and whether it is the first of
 * them), and `trouble` (a problem, or null where there is none any more).
 *
 * @typedef {{id: number, at: number, edited: boolean, from_bot: boolean, person: number, text: string,
 *            photo: ?{file: string, width: number, height: number},
 *            document: ?{file: string, name: string, type: string, bytes: number},
 *            album: ?string, reply_to: ?number,
 *            buttons: {text: string, url: ?string, data: ?string}[]}} Message
 */
export class Feed extends EventTarget {
  constructor() {
    super();
    this.stopping = new AbortController();
  }

  /**
   * Follow this chat from now on, and no other.
   * @param {number} chat
   */
  follow(chat) {
    this.stopping.abort();
    this.stopping = new AbortController();
    this.run(chat, this.stopping.signal);
  }

  async run(chat, signal) {
    const read = { run: '', after: 0 };
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      try {
        await untilSeen(signal);
        await this.take(chat, read, signal);
        this.tell('trouble', null);
        pause = FIRST_PAUSE_MS;
      } catch (error) {
        if (signal.aborted) return;
        this.tell('trouble', error instanceof Problem ? error : broken(error));
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
        await sleep(pause, signal).catch(() => {});
      }
    }
  }

  async take(chat, read, signal) {
    const told = await json(`bot/chats/${chat}/events?${new URLSearchParams(read)}`, { signal });
    if (signal.aborted) return;
    const first = told.run !== read.run;
    if (first) this.tell('begin', read.run !== '');
    Object.assign(read, { run: told.run, after: told.until });
    this.tell('news', { ...told, first });
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** A page that nobody sees asks for nothing: browsers make few connections to one service. */
function untilSeen(signal) {
  if (document.visibilityState === 'visible') return null;
  return new Promise((resolve) => {
    document.addEventListener('visibilitychange', resolve, { once: true, signal });
    signal.addEventListener('abort', resolve, { once: true });
  });
}

function broken(error) {
  return new Problem({ title: 'This page failed', detail: String(error), retry: true });
}
