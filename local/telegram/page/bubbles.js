/** Messages as they are seen. */

import { make } from '../static/build.js';
import { bytes } from '../static/words.js';

const NEAR_END = 80;
const LONGEST_QUOTE = 60;
const HIGHEST = 360;
const byId = (id) => document.getElementById(id);

/** The messages of the chat that is open. Fires `reply` and `edit` (a message), `press` (message, button). */
export class Bubbles extends EventTarget {
  /** @param {(id: number) => string} nameOf a person */
  constructor(nameOf) {
    super();
    this.nameOf = nameOf;
    /** @type {Map<number, import('./feed.js').Message>} */
    this.messages = new Map();
    this.stuck = true;
    byId('newer').addEventListener('click', () => this.toEnd());
    byId('log').addEventListener('scroll', () => {
      this.stuck = this.atEnd();
      if (this.stuck) byId('newer').hidden = true;
    });
    const resized = new ResizeObserver(() => { if (this.stuck) this.toEnd(); });
    for (const id of ['log', 'messages']) resized.observe(byId(id));
  }

  /** Take all away. */
  clear() {
    this.messages.clear();
    byId('messages').replaceChildren();
    byId('newer').hidden = true;
    this.stuck = true;
  }

  /**
   * Show messages that came or changed.
   * @param {import('./feed.js').Message[]} messages
   */
  show(messages) {
    for (const message of messages) {
      this.messages.set(message.id, message);
      this.place(message);
    }
    if (this.stuck) this.toEnd();
    else if (messages.length) byId('newer').hidden = false;
  }

  /** @returns {boolean} whether the last message is in view, or nearly */
  atEnd() {
    const log = byId('log');
    return log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END;
  }

  /** Bring the last message into view, and keep it there. */
  toEnd() {
    this.stuck = true;
    byId('log').scrollTop = byId('log').scrollHeight;
    byId('newer').hidden = true;
  }

  /**
   * Say in a few words what a message is.
   * @param {?import('./feed.js').Message} message
   * @returns {string}
   */
  inShort(message) {
    if (!message) return 'a message';
    const what = message.photo ? 'photo' : message.document?.name ?? '';
    const said = message.text.split('\n')[0].slice(0, LONGEST_QUOTE);
    return [what, said].filter(Boolean).join(': ') || 'a message';
  }

  /**
   * @param {import('./feed.js').Message} message
   * @returns {string}
   */
  sender(message) {
    return message.from_bot ? 'Bot' : this.nameOf(message.person);
  }

  place(message) {
    const shown = document.querySelector(`[data-message="${message.id}"]`);
    const album = message.album && [...byId('messages').children].find(
      ({ dataset }) => dataset.album === message.album,
    );
    if (shown) shown.replaceWith(this.part(message));
    else if (album) album.append(this.part(message));
    else byId('messages').append(this.bubble(message));
  }

  bubble(message) {
    const side = message.from_bot ? 'from-bot' : 'from-person';
    return make(`li.bubble.${side}`, { 'data-album': message.album },
      make('p.who', null, this.sender(message)),
      this.quote(message.reply_to),
      this.part(message));
  }

  /** What a bubble holds of one message; that of an album holds several. */
  part(message) {
    return make(`div.part${message.photo ? '.pictured' : ''}`, { 'data-message': message.id },
      this.photo(message), file(message.document, this.sender(message)),
      message.text && make('p.text', null, message.text),
      message.buttons.length > 0 && make('div.keys', null, ...message.buttons.map((button) => this.key(message, button))),
      make('p.foot', null, time(message), message.edited && ' edited ',
        make('span.deeds', null,
          !message.from_bot && this.deed('edit', 'Edit', `Edit ${this.inShort(message)}`, message),
          this.deed('reply', 'Reply', `Reply to ${this.sender(message)}: ${this.inShort(message)}`, message))));
  }

  deed(type, name, label, message) {
    const tell = () => this.tell(type, message);
    return make(`button.link.${type}`, { type: 'button', 'aria-label': label, onclick: tell }, name);
  }

  photo(message) {
    if (!message.photo) return null;
    const { file: name, width, height } = message.photo;
    const from = message.from_bot ? 'Picture from the bot' : `Photo from ${this.sender(message)}`;
    const alt = message.text ? `${from}: ${message.text.split('\n')[0]}` : from;
    const shown = Math.min(1, HIGHEST / height);
    const size = { width: Math.ceil(width * shown), height: Math.ceil(height * shown) };
    const image = make('img', { src: `bot/files/${name}`, ...size, alt });
    return make('a.photo', { href: `bot/files/${name}`, target: '_blank', rel: 'noopener', title: 'Open it alone' }, image);
  }

  quote(replyTo) {
    if (!replyTo) return null;
    const replied = this.messages.get(replyTo);
    const text = replied ? `${this.sender(replied)}: ${this.inShort(replied)}` : 'an earlier message';
    const go = () => document.querySelector(`[data-message="${replyTo}"]`)
      ?.scrollIntoView({ block: 'center' });
    return make('button.quote', { type: 'button', onclick: go, title: 'Show what it replies to' }, text);
  }

  key(message, button) {
    if (/^https?:/.test(button.url ?? '')) {
      return make('a.plain', { href: button.url, target: '_blank', rel: 'noopener' }, button.text);
    }
    const press = () => this.tell('press', { message, button });
    return make('button.plain', { type: 'button', 'data-press': `${message.id} ${button.data}`, onclick: press }, button.text);
  }

  /**
   * Mark a button as pressed and not answered yet, or as free again.
   * @param {{message: import('./feed.js').Message, button: {data: string}}} pressed
   * @param {boolean} busy
   */
  busy({ message, button }, busy) {
    const shown = [...document.querySelectorAll('[data-press]')]
      .find(({ dataset }) => dataset.press === `${message.id} ${button.data}`);
    shown?.setAttribute('aria-disabled', String(busy));
    shown?.classList.toggle('busy', busy);
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function file(document, sender) {
  if (!document) return null;
  const address = `bot/files/${document.file}`;
  const picture = document.type.startsWith('image/')
    && make('img', { src: address, alt: `File from ${sender}`, onerror: (event) => event.target.remove() });
  return make('a.file', { href: address, target: '_blank', rel: 'noopener' },
    picture, make('span', null, `${document.name}, ${bytes(document.bytes)}`));
}

function time({ at }) {
  const moment = new Date(at * 1000);
  return make('time', { datetime: moment.toISOString() }, moment.toLocaleTimeString(undefined, { timeStyle: 'short' }));
}

/**
 * Say what the bot just did, for those who do not see it.
 * @param {import('./feed.js').Message[]} messages
 * @returns {string}
 */
export function spoken(messages) {
  return messages.filter((message) => message.from_bot)
    .map((message) => `Bot${message.photo ? ', a picture' : ''}: ${message.text}`)
    .join('\n');
}
