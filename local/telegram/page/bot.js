/** The chat window: who one is, what is said, and what the bot answers. */

import { Problem, firstServing, json, send } from '../static/api.js';
import { make } from '../static/build.js';
import { sentence } from '../static/words.js';
import { Bubbles, spoken } from './bubbles.js';
import { Composer } from './composer.js';
import { Feed } from './feed.js';

const FIRSTS = ['predict', 'count', 'blur 8', 'rotate', '/help'];
const NEEDS_A_MODEL = /^(predict|count)\b/;
const WITHOUT_A_MODEL = ['blur 8', 'contour', 'rotate', 'segment', '/help'];
const LOOK_AGAIN_MS = 10_000;
const ANSWER_MS = 30_000;
const FIRST_NEW = 2000;
const byId = (id) => document.getElementById(id);

/** All of the page. */
class Chat {
  constructor(about) {
    this.about = about;
    this.pressed = new Set();
    this.feed = new Feed();
    this.bubbles = new Bubbles((id) => this.nameOf(id));
    this.composer = new Composer(
      () => ({ chat: this.chat, person: this.person }),
      () => this.bubbles.toEnd(),
    );
    this.feed.addEventListener('begin', ({ detail }) => this.begin(detail));
    this.feed.addEventListener('news', ({ detail }) => this.news(detail));
    this.feed.addEventListener('trouble', ({ detail }) => tellTrouble(detail));
    this.bubbles.addEventListener('reply', ({ detail }) => {
      this.composer.replyTo(detail, `${this.bubbles.sender(detail)}, ${this.bubbles.inShort(detail)}`);
    });
    this.bubbles.addEventListener('edit', ({ detail }) => {
      this.composer.edit(detail, this.bubbles.inShort(detail));
    });
    this.bubbles.addEventListener('press', ({ detail }) => this.press(detail));
    byId('toast-close').addEventListener('click', () => this.closeToast());
    this.offerPeople();
    this.open(Number(new URLSearchParams(window.location.search).get('chat')));
  }

  nameOf(person) {
    return this.about.people.find(({ id }) => id === person)?.name ?? `Person ${person}`;
  }

  offerPeople() {
    const { people, group } = this.about;
    for (const { id, name } of people) this.offer(id, name);
    this.offer(group, 'Group');
    byId('speaker').replaceChildren(...people.map(({ id, name }) => new Option(name, id)));
    byId('new-person').addEventListener('click', () => {
      this.open(FIRST_NEW + crypto.getRandomValues(new Uint16Array(1))[0]);
      byId('said').focus();
    });
  }

  offer(id, name) {
    const open = () => this.open(id);
    const choice = make('input', { type: 'radio', name: 'chat', value: id, onchange: open });
    byId('new-person').before(make('label', null, choice, make('span', null, name)));
    return choice;
  }

  /** Open a chat: one of those offered, that of somebody new, or where there is no such the first. */
  open(wanted) {
    const choices = [...byId('people').querySelectorAll('input')];
    const known = choices.find(({ value }) => Number(value) === wanted);
    const canBe = Number.isInteger(wanted) && wanted > 0 && wanted <= this.about.last_person;
    const choice = known ?? (canBe ? this.offer(wanted, this.nameOf(wanted)) : choices[0]);
    choice.checked = true;
    this.chat = Number(choice.value);
    byId('speaker-pick').hidden = this.chat > 0;
    const address = new URL(window.location.href);
    address.searchParams.set('chat', this.chat);
    window.history.replaceState(null, '', address);
    this.composer.leave();
    this.closeToast();
    this.bubbles.clear();
    this.feed.follow(this.chat);
  }

  get person() {
    return this.chat > 0 ? this.chat : Number(byId('speaker').value);
  }

  begin(anew) {
    this.bubbles.clear();
    this.composer.leave();
    if (anew) this.say('The stand-in for Telegram was started anew: what was said before is forgotten.');
  }

  news({ messages, toasts, first }) {
    this.bubbles.show(messages);
    byId('empty').hidden = this.bubbles.messages.size > 0;
    if (first) this.bubbles.toEnd();
    else this.say(spoken(messages));
    for (const toast of toasts) this.answered(toast);
  }

  async press({ message, button }) {
    const pressed = { message, button, query: null };
    if ([...this.pressed].some((other) => isSame(other, pressed))) return;
    this.pressed.add(pressed);
    this.bubbles.busy(pressed, true);
    try {
      const body = { message: message.id, data: button.data, person: this.person };
      pressed.query = (await send(`bot/chats/${this.chat}/presses`, body)).query;
      setTimeout(() => this.release(pressed), ANSWER_MS);
    } catch (error) {
      this.release(pressed);
      this.toast(sentence(error instanceof Problem ? error.detail : String(error)));
    }
  }

  /** Show what the bot says to who pressed a button here; to others it says nothing. */
  answered({ id, text }) {
    const pressed = [...this.pressed].find(({ query }) => query === id);
    if (!pressed) return;
    this.release(pressed);
    this.toast(text);
  }

  release(pressed) {
    if (this.pressed.delete(pressed)) this.bubbles.busy(pressed, false);
  }

  toast(text) {
    byId('toast-text').textContent = text;
    byId('toast').hidden = !text;
  }

  closeToast() {
    const held = byId('toast').contains(document.activeElement);
    byId('toast').hidden = true;
    if (held) byId('said').focus();
  }

  say(text) {
    if (text) byId('live').textContent = text;
  }
}

function isSame(one, other) {
  return one.message.id === other.message.id && one.button.data === other.button.data;
}

function tellTrouble(problem) {
  byId('trouble').hidden = !problem;
  const why = problem?.status ? ` ${sentence(problem.detail)}` : '';
  byId('trouble').textContent = problem
    ? `The stand-in for Telegram does not answer.${why} Is “make run” still running? I keep trying.`
    : '';
}

/** Show captions that work as they stand; look for a model until one serves. */
async function offerCaptions(examples, composer) {
  const look = () => firstServing().catch(() => undefined); // then nobody knows whether one serves
  let model = await look();
  showCaptions(examples, composer, model);
  while (!model) {
    await new Promise((resolve) => { setTimeout(resolve, LOOK_AGAIN_MS); });
    const before = model;
    model = await look();
    if (model !== before) showCaptions(examples, composer, model);
  }
}

/**
 * Show captions that work as they stand, for a model.
 * @param {?import('../static/api.js').Model} [model] null: none serves; undefined: nobody knows
 */
function showCaptions(examples, composer, model) {
  byId('no-model').hidden = model !== null;
  const chip = (caption) => make('button.chip', { type: 'button', onclick: () => composer.suggest(caption) }, caption);
  const offered = Object.entries(examples)
    .map(([what, captions]) => [what, worksWith(model, captions)])
    .filter(([, captions]) => captions.length);
  byId('captions').replaceChildren(...offered.flatMap(([what, captions]) => [
    make('dt', null, what), make('dd.chips', null, ...captions.map(chip)),
  ]), make('dt', null, 'without a photo'), make('dd.chips', null, ...['/start', 'models', '/help'].map(chip)));
  byId('firsts').replaceChildren(...(model === null ? WITHOUT_A_MODEL : FIRSTS).map(chip));
}

/** @returns {string[]} the captions that work; an example is of a model and of one of its classes */
function worksWith(model, captions) {
  if (model === null) return captions.filter((caption) => !NEEDS_A_MODEL.test(caption));
  const known = { model: model?.name, thing: model?.class_names[0] };
  return captions
    .map((caption) => caption.replace(/\{(\w+)\}/, (_, what) => known[what] ?? ''))
    .filter((caption) => !caption.endsWith(' '));
}

function openSamples(composer) {
  for (const button of byId('samples').querySelectorAll('button')) {
    button.addEventListener('click', async () => {
      const name = `${button.dataset.sample}.jpg`;
      try {
        const response = await fetch(`samples/${name}`);
        composer.add([new File([await response.blob()], name, { type: 'image/jpeg' })]);
      } catch {
        composer.fail('The sample could not be fetched.');
      }
    });
  }
}

function openDrop(composer) {
  const veil = byId('veil');
  const bringsFiles = (event) => event.dataTransfer?.types.includes('Files');
  window.addEventListener('dragover', (event) => {
    if (!bringsFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'copy';
    veil.hidden = false;
  });
  window.addEventListener('dragleave', (event) => { if (!event.relatedTarget) veil.hidden = true; });
  window.addEventListener('drop', (event) => {
    veil.hidden = true;
    if (!bringsFiles(event)) return;
    event.preventDefault();
    composer.add([...event.dataTransfer.files]);
  });
}

async function start() {
  byId('hints').open = window.matchMedia('(min-width: 60rem)').matches;
  try {
    const about = await json('bot/about');
    tellTrouble(null);
    const { composer } = new Chat(about);
    openSamples(composer);
    openDrop(composer);
    offerCaptions(about.examples, composer);
  } catch (error) {
    tellTrouble(error instanceof Problem ? error : { detail: String(error) });
    setTimeout(start, 2000);
  }
}

start();
