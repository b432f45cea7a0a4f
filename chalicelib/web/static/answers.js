/** The three answers, how they are sent, and what became of them. */

import { Problem } from './api.js';
import { nextPhoto, submit } from './contribute.js';
import { adviceFor, faultsByBox, isRefused, tellTrouble } from './trouble.js';
import { joined } from './words.js';

const NONE_WAITS = 'No other photo waits for a person just now. Bring one of your own.';
const TITLES = {
  accepted: 'Taken',
  quarantined: 'Your answer waits',
  rejected: 'Not taken',
};
const WAITS_FOR = {
  proof: 'It waits for you: check a few photos correctly. Or for two other people who agree with it.',
  opinions: 'It waits for other people who look at the same photo and agree with it.',
  operator: 'It waits for an operator of this service.',
};
const OFFER = ' There is a photo that you can check now, so that what you send counts sooner.';
const byId = (id) => document.getElementById(id);

/** The lower part of the panel. */
export class Answers {
  /** @param {import('./label.js').Tool} tool */
  constructor(tool) {
    this.tool = tool;
    this.sending = false;
    byId('confirm').addEventListener('click', () => this.send('confirmed'));
    byId('correct').addEventListener('click', () => this.send('corrected'));
    byId('nothing-here').addEventListener('click', () => this.askEmpty());
    byId('empty-yes').addEventListener('click', () => this.send('empty'));
    byId('empty-no').addEventListener('click', () => this.keepBoxes());
    byId('offered').addEventListener('click', () => this.tool.go(this.tool.draft.outcome.task.prediction_id));
    byId('next-after').addEventListener('click', () => this.next());
    byId('again').addEventListener('click', () => this.reopen());
  }

  /** Offer what fits the boxes as they are. */
  refresh() {
    const { draft } = this.tool;
    const { length } = draft.boxes;
    const sent = Boolean(draft.outcome);
    byId('answers').hidden = sent;
    byId('outcome').hidden = !sent;
    this.ask(false);
    byId('confirm').hidden = draft.changed || !length;
    byId('correct').hidden = !draft.changed || !length;
    byId('nothing-here').className = length ? 'plain' : 'key';
    for (const id of ['confirm', 'correct', 'nothing-here', 'empty-yes']) {
      byId(id).disabled = this.sending;
    }
    byId('draft-note').textContent = noteOf(draft);
    byId('draft-note').classList.toggle('alarm', !draft.kept);
    if (sent) showOutcome(draft.outcome);
  }

  /** Send what the boxes say by themselves. */
  sendLikely() {
    const { draft } = this.tool;
    if (draft.outcome || this.sending) return;
    if (!draft.boxes.length) this.askEmpty();
    else this.send(draft.changed ? 'corrected' : 'confirmed');
  }

  /** Where there are boxes, a slip of the finger must not send that there are none. */
  askEmpty() {
    const { length } = this.tool.draft.boxes;
    if (!length) {
      this.send('empty');
      return;
    }
    byId('ask-empty-text').textContent = length === 1
      ? 'There is a box. Is nothing there at all?'
      : `There are ${length} boxes. Is nothing there at all?`;
    this.ask(true);
    byId('empty-yes').focus();
  }

  ask(asked) {
    byId('ask-empty').hidden = !asked;
    byId('choices').hidden = asked;
  }

  keepBoxes() {
    this.ask(false);
    byId('nothing-here').focus();
  }

  async send(answer) {
    const { tool } = this;
    const { draft, task } = tool;
    if (this.sending) return;
    this.sending = true;
    tellTrouble(null);
    this.refresh();
    tool.progress('Sending your answer …');
    try {
      const told = await submit(task, answer, draft.boxes);
      this.sending = false;
      tool.faults = new Map();
      if (answer === 'empty') draft.set([]);
      draft.close({ ...told, answer });
      if (tool.draft === draft) this.sent();
    } catch (problem) {
      this.sending = false;
      if (tool.draft === draft) this.failed(problem, answer);
    }
    tool.progress('');
  }

  sent() {
    tellTrouble(null);
    byId('outcome-title').focus();
    this.tool.say(`${byId('outcome-text').textContent} ${byId('outcome-waits').textContent}`);
  }

  /** Nothing is lost: the draft is as it was, and the same answer can be sent again. */
  failed(error, answer) {
    const { tool } = this;
    const problem = error instanceof Problem ? error : broken(error);
    const byBox = faultsByBox(problem);
    tool.faults = new Map([...byBox].map(([index, what]) => [tool.draft.boxes[index]?.id, what])
      .filter(([id]) => id));
    tool.refresh();
    const final = [401, 403, 404, 409, 422].includes(problem.status) && !isRefused(problem);
    const advice = tool.faults.size || problem.status !== 422 ? adviceFor(problem, 'send') : '';
    tellTrouble(problem, advice, final ? null : () => this.send(answer));
    tool.choose([...tool.faults.keys()][0] ?? tool.chosen, true);
  }

  async next() {
    const { tool } = this;
    const { model } = tool.task;
    byId('next-after').disabled = true;
    try {
      const id = await nextPhoto(model);
      tool.go(id, id ? '' : NONE_WAITS);
    } catch (problem) {
      tellTrouble(problem, isRefused(problem) ? adviceFor(problem, 'bring') : '', () => this.next());
    }
    byId('next-after').disabled = false;
  }

  /** The same person may answer again: the newer answer counts in place of the older. */
  reopen() {
    this.tool.draft.close(null);
    this.tool.canvas.focus();
  }
}

function noteOf(draft) {
  if (!draft.kept) return 'This browser keeps no drafts: send before you leave the page.';
  if (draft.changed) return 'Kept in this browser until you send it.';
  return draft.boxes.length ? 'Change a box, and you can send the right ones instead.' : '';
}

function showOutcome({ state, message, changes, change, waits_for: waitsFor, task }) {
  byId('outcome').dataset.state = state;
  byId('outcome-title').textContent = TITLES[state] ?? TITLES.accepted;
  byId('outcome-text').textContent = message;
  byId('outcome-waits').textContent = `${WAITS_FOR[waitsFor] ?? ''}${task ? OFFER : ''}`.trim();
  byId('offered').hidden = !task;
  byId('next-after').className = task ? 'plain' : 'key';
  const parts = Object.entries(changes ?? {}).filter(([, count]) => count)
    .map(([kind, count]) => `${count} ${kind}`);
  const told = parts.length ? `Of the boxes: ${joined(parts)}.` : '';
  const updated = change === 'updated' ? ' It takes the place of your earlier answer.' : '';
  byId('outcome-changes').textContent = `${told}${updated}`.trim();
}

function broken(error) {
  return new Problem({ title: 'This page failed', detail: String(error), retry: true });
}
