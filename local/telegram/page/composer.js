/** What is about to be sent: words, photos, and what they reply to. */

import { Problem, json } from '../static/api.js';
import { make } from '../static/build.js';
import { bytes, sentence } from '../static/words.js';

const MOST_FILES = 10;
const LARGEST_FILE = 20_000_000;
const LARGEST_ALBUM = 100_000_000;
const byId = (id) => document.getElementById(id);

/** The form under the messages. */
export class Composer {
  /**
   * @param {() => {chat: number, person: number}} whereAndWho
   * @param {() => void} then is called when something was sent
   */
  constructor(whereAndWho, then) {
    this.whereAndWho = whereAndWho;
    this.then = then;
    /** @type {{file: File, address: string}[]} */
    this.chosen = [];
    this.replied = null;
    this.edited = null;
    this.sending = false;
    byId('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.send();
    });
    byId('said').addEventListener('keydown', (event) => this.key(event));
    byId('said').addEventListener('input', () => { this.fail(''); grow(); });
    byId('reply-off').addEventListener('click', () => this.letGo());
    for (const [button, input] of [['attach', 'files'], ['camera', 'shot']]) {
      byId(button).addEventListener('click', () => byId(input).click());
      byId(input).addEventListener('change', () => {
        const files = [...byId(input).files];
        byId(input).value = ''; // so that the same file can be chosen again
        this.add(files);
      });
    }
    document.addEventListener('paste', (event) => this.add([...(event.clipboardData?.files ?? [])]));
  }

  /** Enter sends, as long as no word is being composed; on a phone it begins a new line. */
  key(event) {
    if (event.key === 'Escape') this.letGo();
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    if (window.matchMedia('(hover: none)').matches) return;
    event.preventDefault();
    this.send();
  }

  /**
   * Write words for somebody, who may change them before they are sent.
   * @param {string} text
   */
  suggest(text) {
    byId('said').value = text;
    this.fail('');
    grow();
    byId('said').focus();
  }

  /**
   * Add photos to what is to be sent; an album has ten at most.
   * @param {File[]} files
   */
  add(files) {
    if (!files.length) return;
    const large = files.filter(({ size }) => size > LARGEST_FILE);
    const fitting = files.filter(({ size }) => size <= LARGEST_FILE);
    const taken = fitting.slice(0, MOST_FILES - this.chosen.length);
    this.fail([
      ...large.map(({ name, size }) => `${name} has ${bytes(size)}: a bot is given ${bytes(LARGEST_FILE)} at most.`),
      ...(taken.length < fitting.length ? [`An album has ${MOST_FILES} photos at most.`] : []),
    ].join(' '));
    this.chosen.push(...taken.map((file) => ({ file, address: URL.createObjectURL(file) })));
    this.draw();
    byId('said').focus();
  }

  /**
   * Have what is sent next reply to a message; null: to none.
   * @param {?import('./feed.js').Message} message
   * @param {string} [inShort]
   */
  replyTo(message, inShort = '') {
    this.replied = message;
    this.edited = null;
    tellAim(message && `Replying to ${inShort}`);
  }

  /**
   * Have what is sent next take the place of a message's words.
   * @param {import('./feed.js').Message} message
   * @param {string} inShort
   */
  edit(message, inShort) {
    this.replied = null;
    this.edited = message;
    this.suggest(message.text);
    tellAim(`Editing ${inShort}`);
  }

  /** Reply to nothing and edit nothing. */
  letGo() {
    if (this.edited) this.suggest('');
    if (this.edited || this.replied) this.replyTo(null);
  }

  /** Forget what belongs to one chat; the words stay. */
  leave() {
    this.letGo();
    this.fail('');
  }

  async send() {
    if (this.sending) return;
    const { chosen, replied, edited } = this;
    const what = { words: byId('said').value, chosen: [...chosen], replied, edited };
    const text = what.words.trim();
    if (!text && !chosen.length && !edited?.photo && !edited?.document) {
      this.fail('Write something, or add a photo.');
      byId('said').focus();
      return;
    }
    const total = chosen.reduce((sum, { file }) => sum + file.size, 0);
    if (total > LARGEST_ALBUM) {
      this.fail(`These have ${bytes(total)}: ${bytes(LARGEST_ALBUM)} go at once.`);
      return;
    }
    this.busy(true);
    try {
      const path = `bot/chats/${this.whereAndWho().chat}/messages`;
      const which = edited ? `/${edited.id}` : '';
      await json(path + which, { method: 'POST', body: this.form(text) });
      this.sent(what);
    } catch (error) {
      this.fail(sentence(error instanceof Problem ? error.detail : String(error)));
    }
    this.busy(false);
  }

  form(text) {
    const form = new FormData();
    form.append('text', text);
    form.append('person', this.whereAndWho().person);
    if (this.replied) form.append('reply_to', this.replied.id);
    if (byId('as-file').checked) form.append('as_file', 'yes');
    if (this.edited) return form;
    for (const { file } of this.chosen) form.append('files', file, file.name || 'pasted');
    return form;
  }

  /** Take away what was sent; what came since stays, and photos that an edit could not take. */
  sent({ words, chosen, replied, edited }) {
    if (byId('said').value === words) {
      byId('said').value = '';
      grow();
    }
    if (!edited) {
      for (const { address } of chosen) URL.revokeObjectURL(address);
      this.chosen = this.chosen.filter((each) => !chosen.includes(each));
    }
    if (this.replied === replied && this.edited === edited) this.replyTo(null);
    this.fail('');
    this.draw();
    this.then();
  }

  busy(busy) {
    this.sending = busy;
    byId('send').disabled = busy;
    byId('send').textContent = busy ? 'Sending …' : 'Send';
  }

  draw() {
    byId('own').hidden = !this.chosen.length;
    if (!this.chosen.length) byId('as-file').checked = false;
    byId('files-chosen').replaceChildren(...this.chosen.map((each) => this.thumbnail(each)));
  }

  thumbnail(each) {
    const { file, address } = each;
    const name = file.name || 'pasted photo';
    const image = make('img', { src: address, alt: name, onerror: (event) => event.target.replaceWith(make('span', null, name)) });
    const off = () => this.remove(each);
    return make('li', null, image,
      make('button.plain', { type: 'button', 'aria-label': `Leave ${name} out`, title: 'Leave it out', onclick: off }, '×'));
  }

  remove(each) {
    URL.revokeObjectURL(each.address);
    this.chosen = this.chosen.filter((other) => other !== each);
    this.fail('');
    this.draw();
    byId('said').focus();
  }

  fail(text) {
    byId('fault').textContent = text;
    byId('fault').hidden = !text;
  }
}

function tellAim(text) {
  byId('replying').hidden = !text;
  byId('replying-to').textContent = text ?? '';
  byId('said').focus();
}

function grow() {
  const said = byId('said');
  said.style.height = 'auto';
  said.style.height = `${said.scrollHeight + 2}px`;
}
